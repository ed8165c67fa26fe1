/** `sluice/client`: reads generations in pages and programs, and resumes by itself. See docs/CLIENT.md. */
import { SluiceError } from "./errors.ts";
import { createHttp } from "./http.ts";
import { page } from "./page.ts";
import { positionsIn } from "./positions.ts";
import { beginRun, type Run, type Start } from "./run.ts";
import { createSockets } from "./sockets.ts";
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
  const { transport = "auto", maxRetries = 5, maxReconnects = 20 } = options;
  const { WebSocket = globalThis.WebSocket, storage } = options;
  const url = addressOf(options.url);
  const positions = positionsIn(url, storage);
  const http = createHttp(url, options);
  const sockets = createSockets(`${url.replace(/^http/, "ws")}/v1/ws`, WebSocket, http.socketTicket);
  const runs = new Set<Run>();

  async function read(run: Run, signal: AbortSignal): Promise<void> {
    const { wanted = transport } = run;
    const isFallback = wanted === "auto" && (!WebSocket || sockets.areBlocked());
    if (wanted !== "sse" && !isFallback) return sockets.read(run, signal);
    try {
      await http.read(run, signal);
    } catch (error) {
      // What was refused has got through.
      if (isFallback && !run.transport && !(error instanceof SluiceError)) sockets.forgive();
      throw error;
    }
  }

  function begin(what: Start | string, after: number, readOptions: ReadOptions): Generation {
    const run = beginRun(what, after, { read, positions, options: readOptions, maxRetries, maxReconnects });
    runs.add(run);
    void run.followed.then(() => runs.delete(run));
    return run;
  }

  return {
    generate: (request: ChatRequest, { onDisconnect, idempotencyKey, ...more }: GenerateOptions = {}) =>
      begin(
        {
          request: copyOf(request),
          idempotency_key: idempotencyKey ?? newKey(),
          on_disconnect: onDisconnect,
        },
        0,
        more,
      ),
    follow(generation: string | Stored, { after, ...more }: FollowOptions = {}) {
      const stored = typeof generation === "string" ? { generation, position: 0 } : generation;
      return begin(stored.generation, after ?? stored.position, more);
    },
    stored: positions.list,
    close() {
      for (const run of runs) run.leave();
      sockets.close();
    },
  };
}

/** The page's own gateway, made when it is first asked for. */
let ownClient: Client | undefined;
const own = (): Client => (ownClient ??= createClient());

/** Starts a generation at the gateway that served the page. */
export const generate: Client["generate"] = (request, options) => own().generate(request, options);
/** Reads a generation of the gateway that served the page. */
export const follow: Client["follow"] = (generation, options) => own().follow(generation, options);

function addressOf(url = page.location?.origin): string {
  if (!url) throw new TypeError("createClient needs a url outside of a page");
  return url.replace(/\/+$/, "");
}

/** As it is now: asked for again, it must be the same. @throws TypeError for what JSON cannot say */
const copyOf = (request: ChatRequest): object => JSON.parse(JSON.stringify(request)) as object;

/** 128 random bits. `randomUUID` is not there in pages without TLS. */
const newKey = (): string => crypto.getRandomValues(new Uint32Array(4)).join("-");
