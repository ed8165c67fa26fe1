/** Spans of OpenTelemetry, through its API alone (docs/TRACING.md): nothing here runs unless an SDK is registered. */
import {
  type Attributes,
  type Context,
  context,
  type ProxyTracerProvider,
  propagation,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  type TracerProvider,
  trace,
} from "@opentelemetry/api";
import type { Fault } from "../core/errors.ts";
import type { AttemptEnd, Call, EndFacts, Refusal, RequestFacts, TraceHeaders } from "../core/ports.ts";
import { shownName } from "./names.ts";
import type { Tracing } from "./passage.ts";

export interface TracesOptions {
  /** The gateway's version, as the instrumentation's. */
  readonly version: string;
  readonly upstreams: readonly { readonly name: string; readonly baseUrl: string }[];
  /** Told of what the SDK threw: a request never fails for its trace. */
  onFault(thrown: unknown): void;
}

type Asked = Pick<Call, "endpoint" | "stream" | "choices">;

/** The spans of one generation that runs. */
interface Trail {
  readonly span: Span;
  /** That of the spans under `span`. */
  readonly inside: Context;
  readonly asked: Asked;
  queue: Span | undefined;
  attempt: Span | undefined;
}

/** A provider of an SDK; the API's port does not name what every SDK of JavaScript's has. */
type Sdk = TracerProvider & { forceFlush?(): Promise<void> };

const NAME = "sluice";

/** Traces, where an SDK has been registered before the gateway started; else none. */
export function registeredTraces(options: TracesOptions): Traces | undefined {
  const provider = trace.getTracerProvider();
  // The API's own provider has no tracer to delegate to until an SDK is registered. Another copy's is told by its method.
  const proxy = provider as Partial<ProxyTracerProvider>;
  if (proxy.getDelegateTracer !== undefined && proxy.getDelegateTracer(NAME) === undefined) return undefined;
  return new Traces(proxy.getDelegate?.() ?? provider, options);
}

/**
 * A span of kind server for each creating request, and under it one for the wait in the queue and one of kind client for each
 * attempt at an upstream. The `gen_ai.*` attributes stand on the attempts alone, so that no token is counted twice.
 */
export class Traces implements Tracing {
  readonly #provider: Sdk;
  readonly #tracer: Tracer;
  readonly #onFault: (thrown: unknown) => void;
  readonly #targets: ReadonlyMap<string, Attributes>;
  /** By generation. */
  readonly #trails = new Map<string, Trail>();

  constructor(provider: Sdk, { version, upstreams, onFault }: TracesOptions) {
    this.#provider = provider;
    this.#tracer = provider.getTracer(NAME, version);
    this.#onFault = onFault;
    this.#targets = new Map(upstreams.map(({ name, baseUrl }) => [name, targetOf(name, baseUrl)]));
  }

  /** Those of the registered propagator: `traceparent`, `tracestate` and `baggage`, where it is the usual one. */
  get fields(): readonly string[] {
    return propagation.fields();
  }

  refused(request: RequestFacts, outcome: Refusal, fault?: Fault): void {
    this.#watch(() => {
      const span = this.#start(request, parentOf(request));
      span.setAttribute("sluice.outcome", outcome);
      fail(span, fault);
      span.end();
    });
  }

  accepted(request: RequestFacts, asked: Asked): void {
    const { generation } = request;
    if (generation === undefined) return;
    this.#watch(() => {
      const parent = parentOf(request);
      const span = this.#start(request, parent, { "sluice.endpoint": asked.endpoint });
      const inside = trace.setSpan(parent, span);
      const queue = this.#tracer.startSpan("queue", {}, inside);
      this.#trails.set(generation, { span, inside, asked, queue, attempt: undefined });
    });
  }

  admitted(request: RequestFacts): void {
    this.#follow(request, (trail) => {
      trail.queue?.end();
      trail.queue = undefined;
    });
  }

  attempted(request: RequestFacts, upstream: string): TraceHeaders | undefined {
    return this.#follow(request, (trail) => {
      const { stream, choices } = trail.asked;
      const operation = trail.asked.endpoint === "/v1/completions" ? "text_completion" : "chat";
      const model = request.model === undefined ? undefined : shownName(request.model);
      const attributes = {
        "gen_ai.operation.name": operation,
        // The dialect that the upstream is spoken to in, whoever it is.
        "gen_ai.provider.name": "openai",
        ...(model === undefined ? {} : { "gen_ai.request.model": model }),
        ...(stream ? { "gen_ai.request.stream": true } : {}),
        ...(choices === 1 ? {} : { "gen_ai.request.choice.count": choices }),
        ...this.#targets.get(upstream),
      };
      const name = model === undefined ? operation : `${operation} ${model}`;
      trail.attempt = this.#tracer.startSpan(name, { kind: SpanKind.CLIENT, attributes }, trail.inside);
      const headers: Record<string, string> = {};
      propagation.inject(trace.setSpan(trail.inside, trail.attempt), headers);
      return headers;
    });
  }

  firstContent(request: RequestFacts, ms: number): void {
    this.#follow(request, ({ attempt }) => {
      attempt?.addEvent("first_token");
      attempt?.setAttribute("gen_ai.response.time_to_first_chunk", ms / 1000);
    });
  }

  /** The first token was handed to a reader. */
  delivered(request: RequestFacts): void {
    this.#follow(request, ({ span }) => span.addEvent("first_token"));
  }

  attemptEnded(request: RequestFacts, end: AttemptEnd): void {
    this.#follow(request, (trail) => {
      trail.attempt?.setAttributes(answered(end));
      fail(trail.attempt, end.fault);
      trail.attempt?.end();
      trail.attempt = undefined;
    });
  }

  ended(facts: EndFacts): void {
    this.#follow(facts, ({ span, queue, attempt }) => {
      this.#trails.delete(facts.generation ?? "");
      // What is still open was cut short by what ended the whole.
      for (const open of [attempt, queue]) {
        fail(open, facts.fault);
        open?.end();
      }
      span.setAttributes({
        "sluice.outcome": facts.outcome,
        "sluice.attempts": facts.attempts,
        "sluice.content_events": facts.contentEvents,
        "sluice.bytes": facts.bytes,
        ...(facts.upstream === undefined ? {} : { "sluice.upstream": facts.upstream }),
      });
      fail(span, facts.fault);
      span.end();
    });
  }

  /** Has the SDK send the spans that it still holds. Never rejects. */
  async flush(): Promise<void> {
    try {
      await this.#provider.forceFlush?.();
    } catch (thrown) {
      this.#onFault(thrown);
    }
  }

  #start({ origin, generation, transport, key }: RequestFacts, parent: Context, more?: Attributes): Span {
    const attributes = {
      "sluice.transport": transport,
      "sluice.key": key,
      ...(origin === undefined ? {} : { "sluice.request.id": origin.requestId }),
      ...(generation === undefined ? {} : { "sluice.generation.id": generation }),
      ...more,
    };
    return this.#tracer.startSpan("generate", { kind: SpanKind.SERVER, attributes }, parent);
  }

  #follow<T>({ generation }: RequestFacts, step: (trail: Trail) => T): T | undefined {
    const trail = generation === undefined ? undefined : this.#trails.get(generation);
    return trail === undefined ? undefined : this.#watch(() => step(trail));
  }

  #watch<T>(step: () => T): T | undefined {
    try {
      return step();
    } catch (thrown) {
      this.#onFault(thrown);
      return undefined;
    }
  }
}

/** The span that is active, where HTTP itself is traced; else the one that the client's headers name. */
function parentOf({ origin }: RequestFacts): Context {
  const active = context.active();
  if (origin?.trace === undefined || trace.getSpan(active) !== undefined) return active;
  return propagation.extract(active, origin.trace);
}

/** Of the errors, only those that are not the client's doing make a span a failed one. */
function fail(span: Span | undefined, fault: Fault | undefined): void {
  if (fault === undefined) return;
  span?.setAttribute("error.type", fault.code);
  if ((fault.said?.status ?? fault.row.status) >= 500) span?.setStatus({ code: SpanStatusCode.ERROR });
}

function answered({ tokens, finishReasons, fault }: AttemptEnd): Attributes {
  const told: Attributes = {
    "gen_ai.usage.input_tokens": tokens?.input,
    "gen_ai.usage.output_tokens": tokens?.output,
    "gen_ai.usage.cache_read.input_tokens": tokens?.cached,
    "gen_ai.usage.reasoning.output_tokens": tokens?.reasoning,
    "gen_ai.response.finish_reasons": finishReasons?.map(shownName),
    "http.response.status_code": fault?.said?.status,
  };
  return Object.fromEntries(Object.entries(told).filter(([, value]) => value !== undefined));
}

function targetOf(name: string, baseUrl: string): Attributes {
  const { hostname, port, protocol } = new URL(baseUrl);
  return {
    "sluice.upstream": name,
    // An IPv6 address without the brackets that it needs in a URL.
    "server.address": hostname.replace(/^\[|\]$/g, ""),
    "server.port": Number(port) || (protocol === "https:" ? 443 : 80),
  };
}
