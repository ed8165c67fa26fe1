/** Recordings, replayed by the emulated upstream through a gateway and read on every transport. */
import { randomUUID } from "node:crypto";
import type { Script } from "../../src/emulator/index.ts";
import type { Recording } from "./corpus.ts";
import {
  type NumberedAnswer,
  readEvents,
  readStock,
  SocketReader,
  type StockAnswer,
  startUnread,
} from "./deliveries.ts";
import type { TestGateway } from "./gateway.ts";

const CHAT = "/v1/chat/completions";
const COMPLETIONS = "/v1/completions";
const MESSAGES = [{ role: "user", content: "Go on." }];

/** What is asked for, whatever the transport. */
export interface Creation {
  readonly endpoint: string;
  readonly request: object;
}

export interface Deliveries {
  readonly stock: StockAnswer;
  readonly events: NumberedAnswer;
  readonly websocket: NumberedAnswer;
}

/** The routes of a gateway under test, and one WebSocket connection for all that is read over it. */
export class Replayer {
  readonly #gateway: TestGateway;
  readonly #socket: SocketReader;

  private constructor(gateway: TestGateway, socket: SocketReader) {
    this.#gateway = gateway;
    this.#socket = socket;
  }

  static async over(gateway: TestGateway): Promise<Replayer> {
    return new Replayer(gateway, await SocketReader.open(gateway.wsUrl));
  }

  close(): void {
    this.#socket.close();
  }

  /** One generation, read by three readers at once. */
  async together({ endpoint, request }: Creation): Promise<Deliveries> {
    const { url } = this.#gateway;
    const key = randomUUID();
    const generation = await startUnread(url, { request, endpoint }, key);
    // A stock client cannot name a generation: the idempotency key takes it to this one.
    const [stock, events, websocket] = await Promise.all([
      readStock(url + endpoint, request, { "idempotency-key": key }),
      readEvents(url, generation),
      this.#socket.subscribe(generation),
    ]);
    const isSame = stock.headers.get("x-generation-id") === generation;
    if (!isSame && stock.status === 200) throw new Error("the stock reader was given another generation");
    return { stock, events, websocket };
  }

  /** Each transport makes a generation of its own. */
  async apart({ endpoint, request }: Creation): Promise<Deliveries> {
    const { url } = this.#gateway;
    const start = (): Promise<string> => startUnread(url, { request, endpoint });
    // `generate` speaks chat alone: another endpoint's generation is subscribed to.
    const isChat = endpoint === CHAT;
    const [stock, events, websocket] = await Promise.all([
      readStock(url + endpoint, request),
      start().then((generation) => readEvents(url, generation)),
      isChat ? this.#socket.generate(request) : this.#socket.subscribe(await start()),
    ]);
    return { stock, events, websocket };
  }
}

/** The request that has a recording replayed, with `n` as it was recorded, or as `more` has it. */
export function replayOf(recording: Recording, script: Script, more: object = {}): Creation {
  const { kind, file, request } = recording;
  const n = typeof request.n === "number" ? { n: request.n } : {};
  const shared = { model: "sluice-demo", ...n, ...more, emulator: { replay: file, ...script } };
  if (kind === "completions") return { endpoint: COMPLETIONS, request: { ...shared, prompt: "Go on." } };
  return { endpoint: CHAT, request: { ...shared, messages: MESSAGES } };
}

/** A chat request that has the emulator play a script. */
export const scripted = (script: Script): Creation => ({
  endpoint: CHAT,
  request: { model: "sluice-demo", messages: MESSAGES, emulator: script },
});

/** Does the work for each item, so many at a time. Rejects with the first that rejects. */
export async function forEach<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const rest = items.values();
  const worker = async (): Promise<void> => {
    for (const item of rest) await work(item);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}
