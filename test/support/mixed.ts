/** Clients of every kind that count for themselves what they asked for and what became of it. */
import type { Script } from "../../src/emulator/index.ts";
import { type TestGateway, until } from "./gateway.ts";
import { chat, look, post } from "./requests.ts";
import { SseClient } from "./sse-client.ts";
import { WsClient } from "./ws-client.ts";

/** What a script comes to, wherever it is played to its end. */
export interface Part {
  readonly script: Script;
  readonly outcome: "completed" | "incomplete" | "failed";
  /** HTTP status of the upstream's answer. */
  readonly code: string;
  /** Content events of a stream. */
  readonly events: number;
}

export type Tally = Record<string, number>;
type Reader = "sse" | "websocket" | "json";

const says = (payload: string): boolean => payload.includes('"content":" tok');

export class Crowd {
  readonly #gateway: TestGateway;
  readonly saw: Tally = {};
  #names = 0;

  constructor(gateway: TestGateway) {
    this.#gateway = gateway;
  }

  count(what: string, by = 1): void {
    this.saw[what] = (this.saw[what] ?? 0) + by;
  }

  /** Reads a stock stream to its end. */
  async stock(part: Part): Promise<void> {
    const client = this.#post("/v1/chat/completions", { ...this.#request(part.script), stream: true });
    await client.ended;
    if (await this.#isRefused(client, "sse")) return;
    this.#ended(part, "sse", "sse", client.events.filter(({ data }) => says(data)).length);
    if (client.last?.data === "[DONE]") this.count("good endings");
  }

  /** Waits for a whole answer. */
  async whole(part: Part): Promise<void> {
    const client = this.#post("/v1/chat/completions", this.#request(part.script));
    await client.ended;
    if (await this.#isRefused(client, "json")) return;
    const isGood = (await client.head).status === 200;
    const usage = isGood
      ? (JSON.parse(client.text) as { usage: { completion_tokens: number } }).usage
      : undefined;
    this.#generation(part.outcome, "json", "json");
    this.count(`upstream ${part.code}`);
    this.count("output tokens", usage?.completion_tokens ?? 0);
    if (isGood) this.count("good endings");
  }

  /** Starts, follows on `/events`, and reads the rest again from the middle. */
  async events(part: Part): Promise<void> {
    const id = await this.#start(part.script);
    if (id === undefined) return;
    const client = this.#get(`/v1/generations/${id}/events`);
    await client.ended;
    const events = client.payloads.filter(says).length;
    this.#ended(part, "none", "sse", events);
    if (part.outcome !== "failed") this.count("good endings");
    if (events === 0) return;
    const again = this.#get(`/v1/generations/${id}/events`, { "last-event-id": "1" });
    await again.ended;
    this.count("readers sse");
    this.count("resumes resumed sse");
    if (again.payloads.filter(says).length !== events) this.count("resumes that differ");
  }

  /** Starts, reads nothing, and looks until it is over. */
  async unread(part: Part): Promise<void> {
    const id = await this.#start(part.script);
    if (id === undefined) return;
    await until("it ends", async () => !/queued|running/.test((await look(this.#gateway.url, id)).status));
    this.#ended(part, "none", undefined, part.events);
    if (part.outcome !== "failed") this.count("good endings");
  }

  /** Generates on a WebSocket, reads to the end, and subscribes again from the middle and from beyond the end. */
  async socket(part: Part): Promise<void> {
    const client = await WsClient.open(this.#gateway.wsUrl);
    const id = await this.#generate(client, part.script);
    if (id !== undefined) {
      const { seq, status } = await client.end(id);
      const events = client.payloads(id).filter(says).length;
      this.#ended(part, "websocket", "websocket", events);
      if (status !== "failed") this.count("good endings");
      await client.ask({ type: "subscribe", id: "b", generation: id, starting_after: 1 }, "end");
      this.count("readers websocket");
      this.count("resumes resumed websocket");
      const beyond = { type: "subscribe", id: "c", generation: id, starting_after: Number(seq) + 1 };
      await client.ask(beyond, "error");
      this.count("resumes ahead websocket");
    }
    await client.close();
  }

  /** Vanishes once the upstream has been asked, and will not answer. */
  async leaveEarly(reader: "sse" | "json"): Promise<void> {
    const request = this.#request({ fault: { kind: "hang_before_headers" } });
    const client = this.#post("/v1/chat/completions", { ...request, stream: reader === "sse" });
    let isAnswered = false;
    void client.ended.then(() => {
      isAnswered = true;
    });
    const { emulator } = this.#gateway;
    const isAsked = (): boolean => emulator.requests().some(({ user }) => user === request["user"]);
    await until("it is asked, or refused", () => isAnswered || isAsked());
    if (isAnswered) {
      if (!(await this.#isRefused(client, reader))) throw new Error("an answer that nobody gave");
      return;
    }
    client.destroy();
    this.#generation("disconnected", reader, reader);
    this.count("upstream none");
    this.count("vanished");
    if (reader === "sse") this.count("streams without content");
  }

  /** Reads all that comes before the upstream falls silent; then vanishes, or cancels. */
  async stopStock(events: number, how: "leave" | "cancel"): Promise<void> {
    const request = { ...this.#request(hanging(events)), stream: true };
    const client = this.#post("/v1/chat/completions", request);
    if (await this.#isRefused(client, "sse")) return;
    await until("its events", () => client.events.filter(({ data }) => says(data)).length === events);
    if (how === "leave") {
      client.destroy();
      this.count("vanished");
    } else {
      await post(
        `${this.#gateway.url}/v1/generations/${(await client.head).headers["x-generation-id"]}/cancel`,
        "",
      );
      await client.ended;
    }
    this.#stopped(how === "leave" ? "disconnected" : "cancelled", "sse", events);
  }

  /** The same on a WebSocket; or stops reading, comes back after what it has seen, and cancels then. */
  async stopSocket(events: number, how: "leave" | "cancel" | "return"): Promise<void> {
    const client = await WsClient.open(this.#gateway.wsUrl);
    const id = await this.#generate(client, hanging(events), how === "return" ? "continue" : "cancel");
    if (id === undefined) return client.close();
    const { seq } = await client.next(({ type, seq }) => type === "event" && seq === 1 + events);
    if (how === "return") {
      await client.ask({ type: "unsubscribe", id: "a" }, "unsubscribed");
      await client.ask({ type: "subscribe", id: "a", generation: id, starting_after: seq }, "accepted");
      this.count("readers websocket");
      this.count("resumes resumed websocket");
    }
    if (how === "leave") {
      client.terminate();
      this.count("vanished");
    } else {
      client.send({ type: "cancel", id: "a" });
      await client.end(id);
      await client.close();
    }
    this.#stopped(how === "leave" ? "disconnected" : "cancelled", "websocket", events);
  }

  /** Asks for the same twice under one key: the second is attached where there is something to attach to. */
  async twice(part: Part): Promise<void> {
    const name = `key ${this.#names++}`;
    const request = this.#request(part.script);
    const headers = { "idempotency-key": name };
    const first = this.#post("/v1/chat/completions", { ...request, stream: true }, headers);
    await first.ended;
    if (await this.#isRefused(first, "sse")) return;
    const events = first.events.filter(({ data }) => says(data)).length;
    this.#ended(part, "sse", "sse", events);
    if (part.outcome !== "failed") this.count("good endings");
    if (events === 0) return;
    const client = await WsClient.open(this.#gateway.wsUrl);
    client.send({ type: "generate", id: "a", request, idempotency_key: name });
    await client.next(({ type }) => type === "end");
    this.count("requests attached websocket");
    this.count("readers websocket");
    await client.close();
  }

  /** Sends what is no request. */
  async invalid(way: Reader): Promise<void> {
    if (way === "websocket") {
      const client = await WsClient.open(this.#gateway.wsUrl);
      await client.ask({ type: "generate", id: "a", request: { model: 1 } }, "error");
      await client.close();
    } else await this.#post(way === "sse" ? "/chat" : "/v1/chat/completions", { messages: 1 }).ended;
    this.count(`requests invalid ${way}`);
  }

  /** The generation was read to its end. */
  #ended(part: Part, transport: string, reader: Reader | undefined, events: number): void {
    this.#generation(part.outcome, transport, reader);
    this.count(`upstream ${part.code}`);
    this.#spoke(events);
  }

  /** The generation was stopped after events that all were seen. */
  #stopped(outcome: string, transport: Reader, events: number): void {
    this.#generation(outcome, transport, transport);
    this.count("upstream 200");
    this.#spoke(events);
  }

  #generation(outcome: string, transport: string, reader: Reader | undefined): void {
    this.count(`requests ${outcome} ${transport}`);
    this.count("generations");
    if (reader !== undefined) this.count(`readers ${reader}`);
  }

  #spoke(events: number): void {
    this.count("output tokens", events);
    this.count(events === 0 ? "streams without content" : "streams with content");
    this.count("gaps", Math.max(0, events - 1));
  }

  /** Whether the line was full; then it is counted. */
  async #isRefused(client: SseClient, transport: string): Promise<boolean> {
    const { status } = await client.head;
    if (status === 200) return false;
    await client.ended;
    const isRefused = client.text.includes('"code":"queue_full"');
    if (isRefused) this.count(`requests queue_full ${transport}`);
    return isRefused;
  }

  async #start(script: Script): Promise<string | undefined> {
    const body = { request: this.#request(script), on_disconnect: "continue" };
    const answer = await post(`${this.#gateway.url}/v1/generations`, body);
    const { id } = (await answer.json()) as { id?: string };
    if (id === undefined) this.count("requests queue_full none");
    return id;
  }

  async #generate(client: WsClient, script: Script, policy = "cancel"): Promise<string | undefined> {
    client.send({ type: "generate", id: "a", request: this.#request(script), on_disconnect: policy });
    const { generation } = await client.next(({ type }) => type === "accepted" || type === "error");
    if (generation === undefined) this.count("requests queue_full websocket");
    return generation;
  }

  #request(script: Script): Record<string, unknown> {
    return chat(script, { user: `client ${this.#names++}` });
  }

  #post(path: string, body: unknown, headers: Record<string, string> = {}): SseClient {
    return new SseClient(this.#gateway.url + path, { method: "POST", body, headers });
  }

  #get(path: string, headers: Record<string, string> = {}): SseClient {
    return new SseClient(this.#gateway.url + path, { headers });
  }
}

/** So many content events, and then nothing more. */
const hanging = (events: number): Script => ({
  tokens: events + 1,
  fault: { kind: "hang", after_tokens: events },
});
