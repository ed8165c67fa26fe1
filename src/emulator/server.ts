import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type EmulatorStats, Ledger, type RequestRecord } from "./ledger.ts";
import { ClientGone } from "./outlet.ts";
import { Routes } from "./routes.ts";
import type { Script } from "./script.ts";
import { ScriptBook, type ScriptByRequest } from "./scripts.ts";

export interface EmulatorOptions {
  /** Default `127.0.0.1`. */
  readonly host?: string;
  /** Default 0: one that is free. */
  readonly port?: number;
  /** Folder of recordings, for `replay`. */
  readonly corpus?: string;
  /** The model of answers to requests that name none; default `sluice-demo`. */
  readonly model?: string;
  /** What `/v1/models` lists; default the one model. Requests may name any other. */
  readonly models?: readonly string[];
  /** Where set, requests to `/v1/` without `Authorization: Bearer KEY` are 401. */
  readonly apiKey?: string;
  /** The end of the demo's text: how to connect a real model. */
  readonly demoHint?: string;
  /** Under every script, the demo's pace included. */
  readonly defaults?: Script;
}

export interface Emulator {
  /** `http://HOST:PORT/v1` */
  readonly url: string;
  readonly port: number;
  /** A snapshot, taken anew at each look. */
  readonly stats: EmulatorStats;
  /** Overrides the request's own script where it gives one. */
  script: ScriptByRequest | undefined;
  /** The next requests take one script each, before all others; replaces what is queued. */
  queue(scripts: readonly (Script | null)[]): void;
  /** The last 10,000 POSTs to `/v1/`, oldest first, as they are now. */
  requests(): RequestRecord[];
  /** Forgets records, counters, the queue and `script`; running answers go on. */
  reset(): void;
  /** Cuts every connection and stops listening. */
  close(): Promise<void>;
}

const KEEP_ALIVE_MS = 120_000;
const BACKLOG = 4_096;

/**
 * Starts an OpenAI-compatible server that says what it is told to.
 * @throws {ScriptError} for defaults that cannot be played; the listener's own error where the port is taken
 */
export async function startEmulator(options: EmulatorOptions = {}): Promise<Emulator> {
  const emulator = new ScriptedUpstream(options);
  await emulator.listen(options.host ?? "127.0.0.1", options.port ?? 0);
  return emulator;
}

class ScriptedUpstream implements Emulator {
  readonly #ledger = new Ledger();
  readonly #scripts: ScriptBook;
  readonly #server: Server;

  constructor(options: EmulatorOptions) {
    this.#scripts = new ScriptBook(options.defaults ?? {});
    const model = options.model ?? options.models?.[0] ?? "sluice-demo";
    const settings = {
      model,
      models: options.models ?? [model],
      apiKey: options.apiKey,
      demoHint: options.demoHint,
      corpus: options.corpus,
    };
    const routes = new Routes(settings, this.#ledger, this.#scripts);
    // A client may keep a connection idle for long: closing it under a request would look like a fault nobody asked for.
    this.#server = createServer({ noDelay: true, keepAliveTimeout: KEEP_ALIVE_MS }, (req, res) => {
      routes.answer(req, res).catch((thrown: unknown) => {
        if (!(thrown instanceof ClientGone)) console.error("emulator:", thrown);
        res.destroy();
      });
    });
  }

  listen(host: string, port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen({ host, port, backlog: BACKLOG }, () => {
        this.#server.off("error", reject);
        resolve();
      });
    });
  }

  get #address(): AddressInfo {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the emulator is not listening");
    return address;
  }

  get port(): number {
    return this.#address.port;
  }

  get url(): string {
    const { address, family, port } = this.#address;
    return `http://${family === "IPv6" ? `[${address}]` : address}:${port}/v1`;
  }

  get stats(): EmulatorStats {
    return this.#ledger.stats();
  }

  get script(): ScriptByRequest | undefined {
    return this.#scripts.script;
  }

  set script(script: ScriptByRequest | undefined) {
    this.#scripts.script = script;
  }

  queue(scripts: readonly (Script | null)[]): void {
    this.#scripts.enqueue(scripts);
  }

  requests(): RequestRecord[] {
    return this.#ledger.records();
  }

  reset(): void {
    this.#ledger.reset();
    this.#scripts.reset();
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }
}
