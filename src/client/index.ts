/** `sluice/client`: reads generations in pages and programs, and resumes by itself. See docs/CLIENT.md. */
import { SluiceError } from "./errors.ts";
import { Http } from "./http.ts";
import { page } from "./page.ts";
import { Positions } from "./positions.ts";
import { Run, type Start } from "./run.ts";
import { SILENT_BEATS } from "./socket.ts";
import { Sockets } from "./sockets.ts";
import type {
  ChatRequest,
  Client,
  ClientOptions,
  FollowOptions,
  GenerateOptions,
  Generation,
  ReadOptions,
  Stored,
} from "./types.ts";

export { SluiceError } from "./errors.ts";
export { textOf } from "./text.ts";
export type * from "./types.ts";

/** @throws TypeError outside a page, where there is no `url` */
export function createClient(options: ClientOptions = {}): Client {
  const url = addressOf(options.url);
  const { transport = "auto", maxRetries = 5, maxReconnects = 20, heartbeatMs = 15_000 } = options;
  const { apiKey, ticket, WebSocket = globalThis.WebSocket } = options;
  const positions = new Positions(options.storage, url);
  const http = new Http({
    url,
    apiKey,
    ticket,
    // A browser's fetch must be called on its window.
    fetch: options.fetch ?? ((input, init) => globalThis.fetch(input, init)),
    silenceMs: heartbeatMs * SILENT_BEATS,
  });
  const sockets = new Sockets({
    url: `${url.replace(/^http/, "ws")}/v1/ws`,
    WebSocket,
    ticket: () => http.socketTicket(),
  });
  const runs = new Set<Run>();

  async function read(run: Run, signal: AbortSignal): Promise<void> {
    const { wanted = transport } = run;
    const isFallback = wanted === "auto" && (WebSocket === undefined || sockets.areBlocked);
    if (wanted !== "sse" && !isFallback) return sockets.read(run, signal);
    try {
      await http.read(run, signal);
    } catch (error) {
      // What was refused has got through.
      if (isFallback && run.transport === undefined && !(error instanceof SluiceError)) sockets.forgive();
      throw error;
    }
  }

  function begin(what: Start | string, after: number, readOptions: ReadOptions): Generation {
    const run = new Run(what, after, { read, positions, options: readOptions, maxRetries, maxReconnects });
    runs.add(run);
    void run.followed.then(() => runs.delete(run));
    return run;
  }

  return {
    generate: (request: ChatRequest, { onDisconnect, idempotencyKey, ...more }: GenerateOptions = {}) =>
      begin({ request: copyOf(request), key: idempotencyKey ?? newKey(), onDisconnect }, 0, more),
    follow(generation: string | Stored, { after, ...more }: FollowOptions = {}) {
      const stored = typeof generation === "string" ? { generation, position: 0 } : generation;
      return begin(stored.generation, after ?? stored.position, more);
    },
    stored: () => positions.list(),
    close() {
      for (const run of runs) run.leave();
      sockets.close();
    },
  };
}

/** The page's own gateway, made when it is first asked for. */
let ownClient: Client | undefined;
const own = (): Client => {
  ownClient ??= createClient();
  return ownClient;
};

/** Starts a generation at the gateway that served the page. */
export const generate: Client["generate"] = (request, options) => own().generate(request, options);
/** Reads a generation of the gateway that served the page. */
export const follow: Client["follow"] = (generation, options) => own().follow(generation, options);

function addressOf(url = page.location?.origin): string {
  if (url === undefined) throw new TypeError("createClient needs the gateway's url outside of a page.");
  return url.replace(/\/+$/, "");
}

/** As it is now: asked for again, it must be the same. @throws TypeError for what JSON cannot say */
const copyOf = (request: ChatRequest): object => JSON.parse(JSON.stringify(request)) as object;

/** 128 random bits. `randomUUID` is not there in pages without TLS. */
const newKey = (): string =>
  Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(36)).join("-");
