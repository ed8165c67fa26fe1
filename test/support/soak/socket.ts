/** The soak's clients over WebSocket: many share a connection, and whoever leaves takes it down with all of them. */
import { WsClient } from "../ws-client.ts";
import { endingOf, pause, type Soaked } from "./http.ts";
import type { Plan } from "./plans.ts";

/** Generations over one connection before another is opened: a client keeps every message that it got. */
const USES = 100;

interface Shared {
  readonly client: WsClient;
  uses: number;
  /** Requests sent and not answered yet. */
  asking: number;
  /** Nobody may ask over it any more. */
  isRetired: boolean;
  /** Somebody has left. */
  isGone: boolean;
}

export class Sockets {
  readonly #at: Soaked;
  #current: Promise<Shared> | undefined;
  readonly #open = new Set<Shared>();

  constructor(at: Soaked) {
    this.#at = at;
  }

  async run(plan: Plan): Promise<string> {
    const { conduct, request, name, after, forMs } = plan;
    const shared = await (conduct === "stalls" ? this.#connect(1) : this.#share());
    const { client } = shared;
    const from = client.received.length;
    this.#at.sent++;
    client.send({ type: "generate", id: name, request });
    const answer = await client.next(({ id, type }) => id === name && type !== "unsubscribed", from);
    shared.asking--;
    const { generation } = answer;
    if (answer.type === "error") return `refused ${answer.error?.code}`;
    if (conduct !== "stays") {
      await this.#eventsOf(client, generation, after, from);
      if (conduct === "cancels") client.send({ type: "cancel", generation });
      else if (conduct === "unsubscribes") return this.#unsubscribe(client, name, from);
      else {
        if (conduct === "stalls") client.ws.pause();
        await pause(forMs);
        return this.#leave(shared);
      }
    }
    return this.#end(shared, generation, name, from);
  }

  /** Closes what is left. */
  async close(): Promise<void> {
    this.#current = undefined;
    await Promise.all([...this.#open].map(({ client }) => client.close()));
    this.#open.clear();
  }

  async #end(shared: Shared, generation: string | undefined, name: string, from: number): Promise<string> {
    const { client } = shared;
    try {
      const end = await client.next(
        (message) => message.type === "end" && message.generation === generation,
        from,
      );
      const ends = client.of(generation).filter(({ type }) => type === "end").length;
      if (ends !== 1) throw new Error(`${name}: ${ends} ends`);
      return endingOf(end);
    } catch (thrown) {
      if (shared.isGone) return "left";
      throw thrown;
    }
  }

  /** It may have ended before: then there is nothing left to unsubscribe from. */
  async #unsubscribe(client: WsClient, name: string, from: number): Promise<string> {
    client.send({ type: "unsubscribe", id: name });
    const isAnswer = (type: string): boolean => type === "unsubscribed" || type === "error";
    try {
      await client.next(({ id, type }) => id === name && isAnswer(type), from);
    } catch {
      // Somebody else has taken the connection down.
    }
    return "left";
  }

  /** Waits for so many events of a generation, or its end, or the connection's. */
  async #eventsOf(
    client: WsClient,
    generation: string | undefined,
    count: number,
    from: number,
  ): Promise<void> {
    let seen = 0;
    const isIt = (message: { generation?: string; type: string }): boolean =>
      message.generation === generation &&
      (message.type === "end" || (message.type === "event" && ++seen >= count));
    if (count > 0) await client.next(isIt, from).catch(() => {});
  }

  /** Vanishes once nothing is on its way: what it sends in its last moment might not arrive. */
  async #leave(shared: Shared): Promise<string> {
    shared.isRetired = true;
    while (shared.asking > 0) await pause(1);
    shared.isGone = true;
    shared.client.terminate();
    this.#open.delete(shared);
    return "left";
  }

  async #share(): Promise<Shared> {
    for (;;) {
      const opening = this.#current;
      const current = await opening;
      if (current !== undefined && !current.isRetired && current.uses < USES) {
        current.uses++;
        // Before anything is awaited: who is about to ask must not find the connection taken down.
        current.asking++;
        return current;
      }
      // Unless another has replaced it meanwhile.
      if (this.#current === opening) this.#current = this.#connect(0);
    }
  }

  async #connect(asking: number): Promise<Shared> {
    const client = await WsClient.open(this.#at.wsUrl);
    const shared = { client, uses: 0, asking, isRetired: false, isGone: false };
    this.#open.add(shared);
    return shared;
  }
}
