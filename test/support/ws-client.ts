/** A WebSocket client over `ws` that keeps every message, as text too, and can wait for one. */
import { WebSocket } from "ws";

export interface ServerMessage {
  readonly type: string;
  readonly id?: string;
  readonly generation?: string;
  readonly seq?: number;
  readonly status?: string;
  readonly last_seq?: number;
  readonly position?: number;
  readonly data?: unknown;
  readonly usage?: unknown;
  readonly timing?: Readonly<Record<string, number>>;
  readonly error?: { readonly code: string; readonly message: string; readonly type: string };
  readonly [more: string]: unknown;
}

export interface Received {
  readonly message: ServerMessage;
  /** As it came. */
  readonly text: string;
}

export interface Closed {
  readonly code: number;
  readonly reason: string;
}

export interface WsOptions {
  readonly protocols?: readonly string[];
  readonly headers?: Readonly<Record<string, string>>;
}

type Test = (message: ServerMessage) => boolean;

const DATA = ',"data":';

export class WsClient {
  readonly received: Received[] = [];
  /** Resolves with the close code; 1006 where there was none. */
  readonly closed: Promise<Closed>;
  readonly ws: WebSocket;
  #hasClosed = false;
  readonly #waiting = new Set<() => void>();

  constructor(ws: WebSocket) {
    this.ws = ws;
    ws.on("message", (data, isBinary) => {
      if (isBinary) throw new Error("the server sent a binary message");
      const text = data.toString();
      this.received.push({ text, message: JSON.parse(text) as ServerMessage });
      for (const look of this.#waiting) look();
    });
    ws.on("error", () => {});
    this.closed = new Promise((resolve) => {
      ws.on("close", (code, reason) => {
        this.#hasClosed = true;
        resolve({ code, reason: reason.toString() });
        for (const look of this.#waiting) look();
      });
    });
  }

  /** Opens a connection and waits for `ready`. */
  static async open(wsUrl: string, options: WsOptions = {}): Promise<WsClient> {
    const ws = new WebSocket(`${wsUrl}/v1/ws`, [...(options.protocols ?? ["sluice.v1"])], {
      headers: { ...options.headers },
    });
    const client = new WsClient(ws);
    await client.next(({ type }) => type === "ready");
    return client;
  }

  get messages(): ServerMessage[] {
    return this.received.map(({ message }) => message);
  }

  send(message: object): void {
    this.ws.send(JSON.stringify(message));
  }

  /** The first message that fits, of those from `from` on; waits for it. Rejects when the connection closes before. */
  next(test: Test, from = 0): Promise<ServerMessage> {
    let seen = from;
    return new Promise((resolve, reject) => {
      const look = (): void => {
        for (; seen < this.received.length; seen++) {
          const { message } = this.received[seen] as Received;
          if (!test(message)) continue;
          this.#waiting.delete(look);
          resolve(message);
          return;
        }
        if (!this.#hasClosed) return;
        this.#waiting.delete(look);
        reject(new Error(`closed before the message came; the last was ${this.received.at(-1)?.text}`));
      };
      this.#waiting.add(look);
      look();
    });
  }

  /** Sends a message and waits for the next one of that type. */
  ask(message: object, type: string): Promise<ServerMessage> {
    const from = this.received.length;
    this.send(message);
    return this.next((answer) => answer.type === type, from);
  }

  /** The ending of a generation. */
  end(generation: string | undefined): Promise<ServerMessage> {
    return this.next((message) => message.type === "end" && message.generation === generation);
  }

  of(generation: string | undefined): ServerMessage[] {
    return this.messages.filter((message) => message.generation === generation);
  }

  seqs(generation: string | undefined): (number | undefined)[] {
    return this.of(generation)
      .filter(({ type }) => type === "event")
      .map(({ seq }) => seq);
  }

  /** The `data` of a generation's events, byte for byte as it stood in the messages. */
  payloads(generation: string | undefined): string[] {
    return this.received
      .filter(({ message }) => message.type === "event" && message.generation === generation)
      .map(({ text }) => text.slice(text.indexOf(DATA) + DATA.length, -1));
  }

  /** Vanishes: the socket is closed without a close frame. */
  terminate(): void {
    this.ws.terminate();
  }

  async close(): Promise<void> {
    this.ws.close(1000);
    await this.closed;
  }
}
