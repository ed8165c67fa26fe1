/** An OpenAI-compatible upstream, through the official SDK: the only file that imports it. */
import OpenAI from "openai";
import type { Dispatcher } from "undici";
import { asFault, Fault } from "../core/errors.ts";
import type { AttemptEnd, Call, Intake, Observer, TraceHeaders, Upstream } from "../core/ports.ts";
import type { Dialect, Translator } from "../dialect/dialect.ts";
import { Health } from "./health.ts";
import { Pump } from "./pump.ts";
import { readAll, refusalOf } from "./refusal.ts";
import { type Answer, type AnswerHeaders, exchange, type Head } from "./transport.ts";
import { givenUp, unreached } from "./unreached.ts";
import { Watchdog } from "./watchdog.ts";

export interface OpenAiUpstreamOptions {
  readonly name: string;
  /** With its version path: `https://api.openai.com/v1`. */
  readonly baseUrl: string;
  readonly apiKey?: string;
  readonly maxConcurrency?: number | undefined;
  /** How long this upstream may take to its first content (streamed) or answer (not streamed) before another is asked. */
  readonly firstTokenTimeoutMs?: number | undefined;
  readonly totalTimeoutMs?: number | undefined;
  /** Milliseconds between two events after the first content. */
  readonly stallTimeoutMs: number;
  /** How long it is left alone after failures in a row; see `Health`. */
  readonly breakerOpenMs?: number | undefined;
  /** Bound on one event, and on the body of an answer that is not streamed. */
  readonly maxEventBytes: number;
  readonly dialects: readonly Dialect[];
  readonly dispatcher: Dispatcher;
  readonly observer: Observer;
}

/** What an upstream answered to a call that is no generation. */
export interface Relayed {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** The SDK's own clock, which it tells the upstream, out of the way: ours rule. The largest delay that a timer takes. */
const NEVER_MS = 2_147_483_647;
const RELAYED_HEADERS =
  /^(x-ratelimit-.*|retry-after(-ms)?|x-should-retry|openai-processing-ms|openai-version|openai-model)$/;

export class OpenAiUpstream implements Upstream {
  readonly name: string;
  readonly maxConcurrency: number | undefined;
  readonly #options: OpenAiUpstreamOptions;
  readonly #client: OpenAI;
  readonly #health: Health;
  /** By path. */
  readonly #heads = new Map<string, Head>();

  constructor(options: OpenAiUpstreamOptions) {
    this.name = options.name;
    this.maxConcurrency = options.maxConcurrency;
    this.#options = options;
    this.#health = new Health(options.breakerOpenMs, (state) =>
      options.observer.upstreamHealth(options.name, state),
    );
    this.#client = withoutOpenAiVariables(() => newClient(options));
  }

  get isWell(): boolean {
    return this.#health.isWell;
  }

  async attempt(wanted: Call, intake: Intake, signal: AbortSignal): Promise<void> {
    const call = { ...wanted, firstContentBy: Math.min(wanted.firstContentBy, this.#patienceEnds(wanted)) };
    const translator = this.#translator(call);
    const giveUp = new AbortController();
    const stop = (): void => giveUp.abort(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    // First of all the request leaves; what is set up to watch over it comes while the upstream works.
    const asked = this.#ask(call, intake, giveUp.signal);
    const watchdog = new Watchdog(call.firstContentBy, () => giveUp.abort(new Fault("upstream_timeout")));
    this.#health.follow(intake.settled, signal);
    try {
      await this.#take(await asked, call, translator, intake, watchdog);
    } catch (thrown) {
      const fault = giveUp.signal.aborted ? givenUp(giveUp.signal) : asFault(thrown);
      intake.end({ status: "failed", fault });
    } finally {
      watchdog.stop();
      signal.removeEventListener("abort", stop);
    }
  }

  /**
   * Makes a call that is no generation (models, embeddings) and reads the whole answer.
   * @throws Fault `upstream_unreachable`, `upstream_disconnected`, `upstream_timeout`, or the upstream's refusal
   */
  async relay(
    method: "get" | "post",
    path: string,
    signal: AbortSignal,
    body?: Uint8Array,
  ): Promise<Relayed> {
    const answer = await this.#send(method === "get" ? "GET" : "POST", path, signal, body);
    const headers = relayable(answer.headers);
    if (!isSuccess(answer.status)) throw await refusalOf(answer.status, headers, answer.body);
    return { status: answer.status, headers, body: await this.#readWhole(answer) };
  }

  /** When this upstream's own time for the first content is up. */
  #patienceEnds({ stream }: Call): number {
    const { firstTokenTimeoutMs, totalTimeoutMs } = this.#options;
    const patienceMs = stream ? firstTokenTimeoutMs : totalTimeoutMs;
    return patienceMs === undefined ? Number.POSITIVE_INFINITY : performance.now() + patienceMs;
  }

  #translator(call: Call): Translator {
    const dialect = this.#options.dialects.find(({ endpoints }) => endpoints.includes(call.endpoint));
    if (dialect === undefined) throw new Error(`no dialect for ${call.endpoint}`);
    return dialect.translator(call);
  }

  async #ask(call: Call, intake: Intake, signal: AbortSignal): Promise<Answer> {
    intake.sent();
    const path = call.endpoint.replace(/^\/v1/, "");
    const answer = await this.#send("POST", path, signal, call.body, call.headers);
    const headers = relayable(answer.headers);
    if (!isSuccess(answer.status)) throw await this.#refusal(answer, headers);
    intake.answered(headers);
    return answer;
  }

  #refusal(answer: Answer, headers: Readonly<Record<string, string>>): Promise<Fault> {
    if (answer.status === 429 || answer.status === 503) this.#health.pause(Number(headers["retry-after"]));
    return refusalOf(answer.status, headers, answer.body);
  }

  async #take(
    answer: Answer,
    call: Call,
    translator: Translator,
    intake: Intake,
    watchdog: Watchdog,
  ): Promise<void> {
    const isJson = (answer.headers["content-type"] ?? "").startsWith("application/json");
    if (call.stream && !isJson) {
      await new Pump(answer.body, translator, intake, watchdog, this.#options).run();
      return;
    }
    // Of JSON where a stream was asked for, only an error in it is told: nothing of it is an event.
    const end = await this.#whole(answer, translator, call.stream ? { append: () => {} } : intake);
    intake.end(call.stream ? notStreamed(end) : end);
  }

  async #whole(answer: Answer, translator: Translator, intake: Pick<Intake, "append">): Promise<AttemptEnd> {
    return translator.body(await this.#readWhole(answer), intake);
  }

  /** @throws Fault `upstream_disconnected` where the body breaks off, `log_limit` where it is too large */
  async #readWhole(answer: Answer): Promise<Buffer> {
    const { maxEventBytes } = this.#options;
    const { bytes, isWhole } = await readAll(answer.body, maxEventBytes + 1);
    if (bytes.length > maxEventBytes) throw new Fault("log_limit");
    if (!isWhole) throw new Fault("upstream_disconnected");
    return bytes;
  }

  /** Sends a request, and counts it once: by the status of its answer, or by why there is none. */
  async #send(
    method: "GET" | "POST",
    path: string,
    signal: AbortSignal,
    body?: Uint8Array,
    more?: TraceHeaders,
  ): Promise<Answer> {
    const { observer, dispatcher } = this.#options;
    try {
      const head = this.#heads.get(path) ?? (await this.#learnHead(method, path));
      const sent = more === undefined ? head : { ...head, headers: { ...head.headers, ...more } };
      const answer = await exchange(dispatcher, method, sent, body ?? null, signal);
      observer.upstreamAnswered(this.name, String(answer.status));
      return answer;
    } catch (thrown) {
      const fault = signal.aborted ? givenUp(signal) : unreached(thrown);
      observer.upstreamAnswered(this.name, fault.code);
      throw fault;
    }
  }

  /** The SDK makes the same of each request to a path: it is asked once. Only the paths of posts are few. */
  async #learnHead(method: "GET" | "POST", path: string): Promise<Head> {
    if (method === "GET") return headOf(this.#client, "get", path);
    const head = await headOf(this.#client, "post", path);
    this.#heads.set(path, head);
    return head;
  }
}

/** Where the SDK sends a request, and with which headers. No body goes through it: it would cost a copy or a parse. */
async function headOf(client: OpenAI, method: "get" | "post", path: string): Promise<Head> {
  const headers = method === "get" ? {} : { "content-type": "application/json" };
  const { req, url } = await client.buildRequest({ method, path, headers });
  const { origin, pathname, search } = new URL(url);
  const all = { ...Object.fromEntries(req.headers), "accept-encoding": "identity" };
  return { origin, path: pathname + search, headers: all };
}

/** A stream was asked for and a JSON body came: an error in it is told, anything else is no stream. */
function notStreamed(end: AttemptEnd): AttemptEnd {
  if (end.status === "failed") return end;
  const fault = new Fault("upstream_error", {
    message: "The upstream answered with JSON where a stream was asked for.",
  });
  return { ...end, status: "failed", fault };
}

const isSuccess = (status: number): boolean => status >= 200 && status < 300;

function newClient(options: OpenAiUpstreamOptions): OpenAI {
  return new OpenAI({
    baseURL: options.baseUrl,
    // The SDK insists on a key; without one of ours no Authorization header leaves.
    apiKey: options.apiKey ?? "none",
    ...(options.apiKey === undefined ? { defaultHeaders: { authorization: null } } : {}),
    organization: null,
    project: null,
    maxRetries: 0,
    timeout: NEVER_MS,
    logLevel: "off",
  });
}

/** The SDK reads headers, organisation and more from OPENAI_* variables; no request of ours may carry them. */
function withoutOpenAiVariables<T>(make: () => T): T {
  const kept = Object.entries(process.env).filter(([name]) => name.startsWith("OPENAI_"));
  for (const [name] of kept) delete process.env[name];
  try {
    return make();
  } finally {
    for (const [name, value] of kept) process.env[name] = value;
  }
}

function relayable(headers: AnswerHeaders): Readonly<Record<string, string>> {
  const kept: Record<string, string> = {};
  for (const name in headers) if (RELAYED_HEADERS.test(name)) kept[name] = headers[name] as string;
  const requestId = headers["x-request-id"];
  if (requestId !== undefined) kept["x-upstream-request-id"] = requestId;
  return kept;
}
