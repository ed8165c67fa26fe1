/** Generations over `sluice.v1` (PROTOCOL.md, 3). A connection carries one at a time and is used again, as HTTP's are. */
import { type RawData, WebSocket } from "ws";
import { faultOf, isJson, parseJson, takeChunk } from "./chunks.ts";
import { type Observation, RequestFault } from "./observation.ts";
import type { RequestBody, Target, Wire } from "./wire.ts";
import { takeEnding } from "./wires-http.ts";

export class WebSocketWire implements Wire {
  readonly #url: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #idle: Connection[] = [];
  readonly #open = new Set<Connection>();

  constructor({ baseUrl, headers }: Target) {
    this.#url = `${baseUrl.replace(/^http/, "ws")}/ws`;
    this.#headers = headers;
  }

  async generate(body: RequestBody, seen: Observation, signal: AbortSignal): Promise<void> {
    const connection = this.#take();
    try {
      await connection.generate(body, seen, signal);
      this.#idle.push(connection);
    } catch (thrown) {
      this.#drop(connection);
      throw thrown;
    }
  }

  async close(): Promise<void> {
    for (const connection of this.#open) this.#drop(connection);
  }

  #take(): Connection {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      if (idle.isOpen) return idle;
      this.#drop(idle);
    }
    const connection = new Connection(this.#url, this.#headers);
    this.#open.add(connection);
    return connection;
  }

  #drop(connection: Connection): void {
    this.#open.delete(connection);
    connection.cut();
  }
}

interface Running {
  readonly seen: Observation;
  readonly resolve: () => void;
  readonly reject: (fault: unknown) => void;
}

class Connection {
  readonly #socket: WebSocket;
  #running: Running | undefined;

  constructor(url: string, headers: Readonly<Record<string, string>>) {
    this.#socket = new WebSocket(url, ["sluice.v1"], { headers, perMessageDeflate: false });
    this.#socket.on("message", (data) => this.#take(data, performance.now()));
    this.#socket.on("unexpected-response", (request, { statusCode }) => {
      request.destroy();
      this.#fail(new RequestFault(`http_${statusCode}`, "the WebSocket was refused"));
    });
    this.#socket.on("error", (error: NodeJS.ErrnoException) => {
      this.#fail(new RequestFault(error.code ?? "websocket_error", error.message || String(error.code)));
    });
    this.#socket.on("close", (code) => {
      this.#fail(new RequestFault(`websocket_${code}`, "the WebSocket was closed before the ending"));
    });
  }

  get isOpen(): boolean {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  async generate(request: RequestBody, seen: Observation, signal: AbortSignal): Promise<void> {
    const stop = (): void => this.#fail(signal.reason);
    signal.addEventListener("abort", stop);
    try {
      await new Promise<void>((resolve, reject) => {
        this.#running = { seen, resolve, reject };
        const message = JSON.stringify({ type: "generate", id: "bench", request, on_disconnect: "cancel" });
        if (this.isOpen) this.#socket.send(message);
        else this.#socket.once("open", () => this.#socket.send(message));
      });
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }

  cut(): void {
    this.#socket.terminate();
  }

  #take(data: RawData, now: number): void {
    const running = this.#running;
    if (running === undefined) return;
    try {
      const message = parseJson(String(data));
      if (!isJson(message)) return;
      if (message["type"] === "event") takeChunk(message["data"], running.seen, now);
      else if (message["type"] === "error") throw faultOf(message["error"], "refused");
      else if (message["type"] === "end") {
        takeEnding(message, running.seen);
        this.#running = undefined;
        running.resolve();
      }
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  #fail(fault: unknown): void {
    this.#running?.reject(fault);
    this.#running = undefined;
  }
}
