/** Reads whole generations as clients of three kinds do, and keeps every payload as the bytes that came. */
import { createParser, type EventSourceMessage } from "eventsource-parser";
import { WebSocket } from "ws";
import { isObject, type Json, jsonOf } from "./oracle.ts";

/** What the stock route answered. */
export interface StockAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Buffer;
  /** The events; neither `[DONE]` nor an error payload is one. */
  readonly payloads: readonly Buffer[];
  readonly doneCount: number;
  /** The error payload that ended the stream. */
  readonly error?: Buffer;
}

/** What `/events` or a WebSocket told, where every event has its seq. */
export interface NumberedAnswer {
  readonly generation: string;
  readonly seqs: readonly number[];
  readonly payloads: readonly Buffer[];
  /** The ending's members, its `seq` among them. */
  readonly end: Json;
}

interface Block {
  readonly id?: string;
  readonly event?: string;
  readonly data: Buffer;
}

const DONE = "[DONE]";

export const post = (url: string, body: object, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });

/** @param url of `/v1/chat/completions` or `/v1/completions` */
export async function readStock(
  url: string,
  request: object,
  headers?: Record<string, string>,
): Promise<StockAnswer> {
  const response = await post(url, { ...request, stream: true }, headers);
  const body = Buffer.from(await response.arrayBuffer());
  const answer = { status: response.status, headers: response.headers, body };
  if (response.status !== 200) return { ...answer, payloads: [], doneCount: 0 };
  const blocks = blocksOf(body);
  if (blocks.some(({ id, event }) => id !== undefined || event !== undefined))
    throw new Error("the stock wire has a field other than data");
  const payloads = blocks.map(({ data }) => data);
  const isDone = (payload: Buffer): boolean => payload.toString() === DONE;
  const events = payloads.filter((payload) => !isDone(payload));
  const doneCount = payloads.length - events.length;
  const last = payloads.at(-1);
  if (last === undefined) throw new Error("the stock wire has no ending");
  if (isDone(last)) return { ...answer, payloads: events, doneCount };
  return { ...answer, payloads: events.slice(0, -1), doneCount, error: last };
}

/** Starts a generation that nobody reads yet. */
export async function startUnread(url: string, creation: object, idempotencyKey?: string): Promise<string> {
  const headers = idempotencyKey === undefined ? {} : { "idempotency-key": idempotencyKey };
  const response = await post(`${url}/v1/generations`, creation, headers);
  const { id } = (await response.json()) as { id: string };
  if (response.status !== 201) throw new Error(`the generation was refused with ${response.status}`);
  return id;
}

export async function readEvents(url: string, generation: string): Promise<NumberedAnswer> {
  const response = await fetch(`${url}/v1/generations/${generation}/events`);
  if (response.status !== 200) throw new Error(`the events were refused with ${response.status}`);
  const blocks = blocksOf(Buffer.from(await response.arrayBuffer()));
  const last = blocks.pop();
  if (last?.event !== "end") throw new Error("the last event is not the ending");
  if (blocks.some(({ event }) => event !== undefined)) throw new Error("an event has a name");
  return {
    generation,
    seqs: blocks.map(({ id }) => Number(id)),
    payloads: blocks.map(({ data }) => data),
    end: { seq: Number(last.id), ...(JSON.parse(last.data.toString()) as Json) },
  };
}

/**
 * The blocks of a stream, read strictly: only what the gateway may write passes, which is less than what a client must take.
 * A parser of another make must find the same.
 */
function blocksOf(bytes: Buffer): Block[] {
  const text = bytes.toString("latin1");
  if (!text.endsWith("\n\n") || text.includes("\r")) throw new Error("the stream has a broken frame");
  const blocks = text
    .slice(0, -2)
    .split("\n\n")
    .filter((block) => !/^: (ping|queued position=\d+)$/.test(block))
    .map(blockOf);
  const seen = blocks.map(({ data, ...rest }) => ({ ...rest, data: data.toString() }));
  if (JSON.stringify(seen) !== JSON.stringify(parsed(bytes))) throw new Error("two parsers read two things");
  return blocks;
}

function blockOf(block: string): Block {
  const fields: Record<string, string> = {};
  for (const line of block.split("\n")) {
    const [, name, value] = /^(id|event|data): (.*)$/.exec(line) ?? [];
    if (name === undefined || value === undefined) throw new Error(`not a line of an event: ${line}`);
    const before = name === "data" ? fields["data"] : undefined;
    fields[name] = before === undefined ? value : `${before}\n${value}`;
  }
  if (fields["data"] === undefined) throw new Error(`an event without data: ${block}`);
  return { ...fields, data: Buffer.from(fields["data"], "latin1") };
}

function parsed(bytes: Buffer): EventSourceMessage[] {
  const events: EventSourceMessage[] = [];
  const parser = createParser({ onEvent: ({ data, ...rest }) => void events.push({ ...rest, data }) });
  parser.feed(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  return events.map(({ id, event, data }) => ({
    ...(id === undefined ? {} : { id }),
    ...(event === undefined ? {} : { event }),
    data,
  }));
}

interface Reading {
  readonly seqs: number[];
  readonly payloads: Buffer[];
  readonly resolve: (answer: NumberedAnswer) => void;
  readonly reject: (error: Error) => void;
}

/** One WebSocket connection, on which many generations are read side by side. */
export class SocketReader {
  readonly #ws: WebSocket;
  /** By the client's name until they are accepted, then by generation. */
  readonly #readings = new Map<string, Reading>();
  #names = 0;

  private constructor(ws: WebSocket) {
    this.#ws = ws;
    ws.on("message", (bytes: Buffer) => this.#received(bytes));
    ws.on("error", (error) => this.#failAll(error));
    ws.on("close", (code) => this.#failAll(new Error(`the connection closed with ${code}`)));
  }

  static async open(wsUrl: string): Promise<SocketReader> {
    const reader = new SocketReader(new WebSocket(`${wsUrl}/v1/ws`, "sluice.v1"));
    await new Promise((resolve, reject) => reader.#ws.once("open", resolve).once("error", reject));
    return reader;
  }

  generate(request: object): Promise<NumberedAnswer> {
    return this.#read({ type: "generate", request });
  }

  subscribe(generation: string): Promise<NumberedAnswer> {
    return this.#read({ type: "subscribe", generation });
  }

  close(): void {
    this.#ws.close(1000);
  }

  #read(message: object): Promise<NumberedAnswer> {
    const id = `r${++this.#names}`;
    return new Promise((resolve, reject) => {
      this.#readings.set(id, { seqs: [], payloads: [], resolve, reject });
      this.#ws.send(JSON.stringify({ ...message, id }));
    });
  }

  #received(bytes: Buffer): void {
    const message = jsonOf(bytes);
    if (!isObject(message)) return void this.#failAll(new Error(`not a JSON message: ${bytes}`));
    const { type } = message;
    const generation = String(message["generation"]);
    if (type === "accepted") this.#bind(String(message["id"]), generation);
    else if (type === "event") this.#event(generation, Number(message["seq"]), dataOf(bytes));
    else if (type === "end") this.#end(generation, message);
    else if (type === "error") this.#failAll(new Error(bytes.toString()));
  }

  #bind(id: string, generation: string): void {
    const reading = this.#readings.get(id);
    this.#readings.delete(id);
    if (reading !== undefined) this.#readings.set(generation, reading);
  }

  #event(generation: string, seq: number, data: Buffer): void {
    const reading = this.#reading(generation, `event ${seq}`);
    reading?.seqs.push(seq);
    reading?.payloads.push(data);
  }

  #end(generation: string, end: Json): void {
    const reading = this.#reading(generation, "an ending");
    if (reading === undefined) return;
    this.#readings.delete(generation);
    reading.resolve({ generation, seqs: reading.seqs, payloads: reading.payloads, end });
  }

  /** What comes before the acceptance, or after the ending, fails everything that is being read. */
  #reading(generation: string, what: string): Reading | undefined {
    const reading = this.#readings.get(generation);
    if (reading === undefined) this.#failAll(new Error(`${what} of ${generation}, which is not being read`));
    return reading;
  }

  #failAll(error: Error): void {
    for (const reading of this.#readings.values()) reading.reject(error);
    this.#readings.clear();
  }
}

/** `data` is the last member of an event: its bytes lie between its name and the closing brace. */
function dataOf(bytes: Buffer): Buffer {
  const name = Buffer.from(`"data":`);
  return bytes.subarray(bytes.indexOf(name) + name.length, -1);
}
