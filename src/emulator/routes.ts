/** What the emulator answers on each path. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Endpoint } from "./chunks.ts";
import { DEMO_HINT } from "./demo.ts";
import { embeddings } from "./embeddings.ts";
import { actEarly, errorBody, isEarly } from "./faults.ts";
import type { Ledger } from "./ledger.ts";
import { ClientGone, Outlet } from "./outlet.ts";
import { planGeneration, type RequestBody } from "./plan.ts";
import { Corpus } from "./replay.ts";
import { isRecord, type Script, ScriptError } from "./script.ts";
import type { ScriptBook } from "./scripts.ts";
import { type Job, perform } from "./stream.ts";

/** A request that is refused, as OpenAI would. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly status: number;
  readonly code: string | null;

  constructor(status: number, message: string, code: string | null = null) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export interface Settings {
  readonly model: string;
  readonly models: readonly string[];
  readonly apiKey: string | undefined;
  readonly demoHint: string | undefined;
  readonly corpus: string | undefined;
}

const BASE = "http://emulator";
const MODELS = "/v1/models";
const STARTED = Math.floor(Date.now() / 1000);

export class Routes {
  readonly #settings: Settings;
  readonly #ledger: Ledger;
  readonly #scripts: ScriptBook;
  readonly #corpus: Corpus;

  constructor(settings: Settings, ledger: Ledger, scripts: ScriptBook) {
    this.#settings = settings;
    this.#ledger = ledger;
    this.#scripts = scripts;
    this.#corpus = new Corpus(settings.corpus);
  }

  /** Answers one request; nothing is thrown but faults of the emulator itself. */
  async answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const url = URL.parse(req.url ?? "/", BASE) ?? new URL(BASE);
    try {
      if (req.method === "POST" && url.pathname.startsWith("/v1/")) await this.#post(req, res, url.pathname);
      else send(res, 200, await this.#look(req, url));
    } catch (thrown) {
      const refusal = asRefusal(thrown);
      if (refusal === undefined) throw thrown;
      send(res, refusal.status, refusalBody(refusal));
    }
  }

  /** Everything that is no request to a model. */
  async #look(req: IncomingMessage, url: URL): Promise<unknown> {
    const { pathname } = url;
    if (pathname === MODELS || pathname.startsWith(`${MODELS}/`)) this.#authorize(req);
    switch (`${req.method} ${pathname}`) {
      case `GET ${MODELS}`:
        return { object: "list", data: this.#settings.models.map(modelObject) };
      case "GET /emulator/stats":
        return this.#ledger.stats();
      case "GET /emulator/requests":
        return this.#records(url.searchParams.get("user"));
      case "POST /emulator/reset":
        this.#ledger.reset();
        this.#scripts.reset();
        return { ok: true };
      case "POST /emulator/script":
        return { queued: this.#scripts.enqueue(parseBody(await readBody(req))["queue"]) };
    }
    if (req.method === "GET" && pathname.startsWith(`${MODELS}/`)) return this.#model(pathname);
    throw new Refusal(404, `Invalid URL (${req.method} ${pathname})`);
  }

  #records(user: string | null): unknown[] {
    const records = this.#ledger.records();
    return user === null ? records : records.filter((record) => record.user === user);
  }

  #model(pathname: string): object {
    const id = decoded(pathname.slice(MODELS.length + 1));
    if (this.#settings.models.includes(id)) return modelObject(id);
    throw new Refusal(404, `The model '${id}' does not exist`, "model_not_found");
  }

  async #post(req: IncomingMessage, res: ServerResponse, pathname: string): Promise<void> {
    const raw = await readBody(req);
    const entry = this.#ledger.open(pathname, req.headers, raw);
    res.setHeader("x-request-id", `req_emulator${entry.record.n}`);
    const out = new Outlet(res, entry);
    try {
      this.#authorize(req);
      const body = parseBody(raw);
      entry.record.model = stringOr(body["model"], null);
      entry.record.user = stringOr(body["user"], null);
      await this.#generate(out, pathname, body, entry.record.n);
    } catch (thrown) {
      const refusal = asRefusal(thrown);
      if (refusal !== undefined) out.json(refusal.status, refusalBody(refusal));
      else if (!(thrown instanceof ClientGone)) throw thrown;
    }
  }

  async #generate(out: Outlet, pathname: string, body: RequestBody, n: number): Promise<void> {
    switch (pathname) {
      case "/v1/chat/completions":
        return perform(this.#job(out, "chat", body, n));
      case "/v1/completions":
        return perform(this.#job(out, "completions", body, n));
      case "/v1/embeddings":
        return this.#embed(out, body, this.#scripts.scriptFor(body, n, {}));
      default:
        throw new Refusal(404, `Invalid URL (POST ${pathname})`);
    }
  }

  #job(out: Outlet, endpoint: Endpoint, body: RequestBody, serial: number): Job {
    const script = this.#scripts.scriptFor(body, serial);
    const plan = planGeneration(endpoint, body, script, this.#settings.demoHint ?? DEMO_HINT);
    const shape = {
      endpoint,
      serial,
      model: stringOr(body["model"], this.#settings.model),
      usage: plan.showUsage,
      payloadBytes: script.payload_bytes ?? 0,
      crlf: script.crlf ?? false,
    };
    return { out, script, plan, shape, streamed: body["stream"] === true, corpus: this.#corpus };
  }

  /** Embeddings heed the delay and the faults that act before any header. */
  async #embed(out: Outlet, body: RequestBody, script: Script): Promise<void> {
    await out.sleep(script.first_token_ms ?? 0);
    const kind = script.fault?.kind;
    if (script.fault !== undefined && kind !== undefined && isEarly(kind) && kind !== "compressed") {
      return actEarly(out, script.fault, kind);
    }
    out.json(200, embeddings(body, stringOr(body["model"], this.#settings.model)));
  }

  #authorize(req: IncomingMessage): void {
    const { apiKey } = this.#settings;
    if (apiKey === undefined || req.headers.authorization === `Bearer ${apiKey}`) return;
    throw new Refusal(401, "Incorrect API key provided.", "invalid_api_key");
  }
}

function asRefusal(thrown: unknown): Refusal | undefined {
  if (thrown instanceof Refusal) return thrown;
  return thrown instanceof ScriptError
    ? new Refusal(400, thrown.message, "invalid_emulator_script")
    : undefined;
}

function refusalBody({ message, code }: Refusal): unknown {
  return JSON.parse(errorBody(message, "invalid_request_error", code));
}

function parseBody(raw: Buffer): RequestBody {
  try {
    const body: unknown = JSON.parse(raw.toString("utf8"));
    if (isRecord(body)) return body;
  } catch {}
  throw new Refusal(400, "We could not parse the JSON body of your request.");
}

function readBody(req: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    req.on("data", (part: Buffer) => parts.push(part));
    req.once("end", () => resolve(Buffer.concat(parts)));
    req.once("error", () => reject(new ClientGone()));
    req.once("close", () => reject(new ClientGone()));
  });
}

function send(res: ServerResponse, status: number, value: unknown): void {
  const body = JSON.stringify(value);
  res.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
  res.end(body);
}

function modelObject(id: string): object {
  return { id, object: "model", created: STARTED, owned_by: "sluice-emulator" };
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

function stringOr<T>(value: unknown, otherwise: T): string | T {
  return typeof value === "string" ? value : otherwise;
}
