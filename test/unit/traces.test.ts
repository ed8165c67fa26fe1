import {
  type Context,
  createContextKey,
  propagation,
  SpanKind,
  SpanStatusCode,
  trace,
} from "@opentelemetry/api";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Fault } from "../../src/core/errors.ts";
import type { EndFacts, RequestFacts } from "../../src/core/ports.ts";
import { registeredTraces, type Traces } from "../../src/observe/traces.ts";

const KEY = createContextKey("test");
const faults: unknown[] = [];
const exporter = new InMemorySpanExporter();
const OPTIONS = {
  version: "1.2.3",
  upstreams: [
    { name: "main", baseUrl: "https://api.example.com/v1" },
    { name: "spare", baseUrl: "http://[::1]:8080/v1" },
  ],
  onFault: (thrown: unknown) => void faults.push(thrown),
};

/** Carries one header along, and says in another which span the upstream's request belongs to. */
const propagator = {
  fields: () => ["x-test"],
  extract: (context: Context, carrier: { "x-test"?: string }) => context.setValue(KEY, carrier["x-test"]),
  inject(context: Context, carrier: Record<string, unknown>) {
    carrier["x-test"] = context.getValue(KEY);
    carrier["x-span"] = trace.getSpan(context)?.spanContext().spanId;
  },
};

const request: RequestFacts = {
  model: "alpha",
  transport: "sse",
  key: "team",
  origin: { requestId: "req_1", trace: { "x-test": "from the client" } },
  generation: "gen_1",
};
const CHAT = { endpoint: "/v1/chat/completions", stream: true, choices: 1 };

const ended = (more: Partial<EndFacts> = {}): EndFacts => ({
  ...request,
  outcome: "completed",
  streamed: true,
  timing: { queue_ms: 1, duration_ms: 1500 },
  contentEvents: 5,
  upstream: "main",
  attempts: 1,
  bytes: 100,
  ...more,
});

let traces: Traces;
beforeEach(() => {
  faults.length = 0;
  exporter.reset();
  trace.setGlobalTracerProvider(
    new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }),
  );
  propagation.setGlobalPropagator(propagator);
  traces = registered();
});
afterEach(() => {
  trace.disable();
  propagation.disable();
});

function registered(): Traces {
  const made = registeredTraces(OPTIONS);
  if (made === undefined) throw new Error("no SDK was found");
  return made;
}

const spans = (): ReadableSpan[] => exporter.getFinishedSpans();
function named(name: string): ReadableSpan {
  const span = spans().find((each) => each.name === name);
  if (span === undefined) throw new Error(`no span ${name} among ${spans().map((each) => each.name)}`);
  return span;
}
const parentOf = (span: ReadableSpan): string | undefined => span.parentSpanContext?.spanId;
const idOf = (span: ReadableSpan): string => span.spanContext().spanId;

describe("without an SDK", () => {
  it("there are no traces", () => {
    trace.disable();
    expect(registeredTraces(OPTIONS)).toBeUndefined();
  });
});

describe("a generation", () => {
  it("is a server span with its queue and its attempts, which follow each other", () => {
    traces.accepted(request, CHAT);
    traces.admitted(request);
    const first = traces.attempted(request, "main");
    traces.attemptEnded(request, { status: "failed", fault: new Fault("upstream_unreachable") });
    const second = traces.attempted(request, "spare");
    traces.firstContent(request, 250);
    traces.delivered(request);
    const tokens = { input: 9, output: 5, cached: 3, reasoning: 1 };
    traces.attemptEnded(request, { status: "completed", tokens, finishReasons: ["stop"] });
    traces.ended(ended({ upstream: "spare", attempts: 2 }));

    expect(spans().map(({ name }) => name)).toEqual(["queue", "chat alpha", "chat alpha", "generate"]);
    const [queue, failed, served, whole] = spans() as [
      ReadableSpan,
      ReadableSpan,
      ReadableSpan,
      ReadableSpan,
    ];
    expect(spans().map(parentOf)).toEqual([idOf(whole), idOf(whole), idOf(whole), undefined]);
    expect([queue.kind, failed.kind, whole.kind]).toEqual([
      SpanKind.INTERNAL,
      SpanKind.CLIENT,
      SpanKind.SERVER,
    ]);
    expect(whole.instrumentationScope).toMatchObject({ name: "sluice", version: "1.2.3" });
    expect(whole.attributes).toEqual({
      "sluice.transport": "sse",
      "sluice.key": "team",
      "sluice.request.id": "req_1",
      "sluice.generation.id": "gen_1",
      "sluice.endpoint": "/v1/chat/completions",
      "sluice.outcome": "completed",
      "sluice.attempts": 2,
      "sluice.content_events": 5,
      "sluice.bytes": 100,
      "sluice.upstream": "spare",
    });
    expect(failed.attributes).toMatchObject({
      "server.address": "api.example.com",
      "server.port": 443,
      "error.type": "upstream_unreachable",
    });
    expect(failed.status.code).toBe(SpanStatusCode.ERROR);
    expect(served.attributes).toEqual({
      "gen_ai.operation.name": "chat",
      "gen_ai.provider.name": "openai",
      "gen_ai.request.model": "alpha",
      "gen_ai.request.stream": true,
      "gen_ai.response.time_to_first_chunk": 0.25,
      "gen_ai.usage.input_tokens": 9,
      "gen_ai.usage.output_tokens": 5,
      "gen_ai.usage.cache_read.input_tokens": 3,
      "gen_ai.usage.reasoning.output_tokens": 1,
      "gen_ai.response.finish_reasons": ["stop"],
      "sluice.upstream": "spare",
      "server.address": "::1",
      "server.port": 8080,
    });
    expect([served.status.code, whole.status.code]).toEqual([SpanStatusCode.UNSET, SpanStatusCode.UNSET]);
    for (const span of [served, whole]) expect(span.events.map(({ name }) => name)).toEqual(["first_token"]);
    expect([first, second]).toEqual(
      [failed, served].map((span) => ({ "x-test": "from the client", "x-span": idOf(span) })),
    );
    expect(faults).toEqual([]);
  });

  it("that is legacy, not streamed, of several choices and without a model says so", () => {
    const bare: RequestFacts = { ...request, model: undefined };
    traces.accepted(bare, { endpoint: "/v1/completions", stream: false, choices: 3 });
    traces.attempted(bare, "main");
    traces.attemptEnded(bare, { status: "completed" });
    const { attributes } = named("text_completion");
    expect(attributes).toMatchObject({
      "gen_ai.operation.name": "text_completion",
      "gen_ai.request.choice.count": 3,
    });
    for (const name of ["gen_ai.request.model", "gen_ai.request.stream", "gen_ai.usage.input_tokens"])
      expect(Object.keys(attributes)).not.toContain(name);
  });

  it.each([
    ["queue_timeout", SpanStatusCode.ERROR],
    ["cancelled", SpanStatusCode.UNSET],
  ] as const)("that ends in the queue, %s, ends its wait", (code, status) => {
    traces.accepted(request, CHAT);
    traces.ended(ended({ outcome: code, fault: new Fault(code) }));
    for (const name of ["queue", "generate"]) {
      expect(named(name).attributes["error.type"]).toBe(code);
      expect(named(name).status.code).toBe(status);
    }
  });

  it("that is cut off in an attempt ends it, once", () => {
    traces.accepted(request, CHAT);
    traces.admitted(request);
    traces.attempted(request, "main");
    traces.ended(ended({ outcome: "failed", fault: new Fault("draining") }));
    traces.attemptEnded(request, { status: "failed", fault: new Fault("cancelled") });
    traces.firstContent(request, 1);
    traces.delivered(request);
    expect(spans().map(({ name }) => name)).toEqual(["queue", "chat alpha", "generate"]);
    expect(named("chat alpha").attributes["error.type"]).toBe("draining");
  });
});

describe("a refusal", () => {
  it("is a span of its own", () => {
    const { generation, ...refused } = request;
    traces.refused(refused, "queue_full", new Fault("queue_full"));
    traces.refused({ ...refused, transport: "json" }, "draining", new Fault("draining"));
    traces.refused(request, "attached");
    expect(
      spans().map(({ attributes, status }) => [
        attributes["sluice.outcome"],
        attributes["error.type"],
        attributes["sluice.generation.id"],
        status.code,
      ]),
    ).toEqual([
      ["queue_full", "queue_full", undefined, SpanStatusCode.UNSET],
      ["draining", "draining", undefined, SpanStatusCode.ERROR],
      ["attached", undefined, "gen_1", SpanStatusCode.UNSET],
    ]);
  });
});

it("reads the headers that the propagator names", () => {
  expect(traces.fields).toEqual(["x-test"]);
});

it("an SDK that throws fails no request, and is told", () => {
  const thrown = new Error("the processor broke");
  trace.disable();
  const broken = {
    onStart: () => {
      throw thrown;
    },
    onEnd: () => {},
    forceFlush: () => Promise.resolve(),
    shutdown: () => Promise.resolve(),
  };
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [broken] }));
  traces = registered();
  traces.accepted(request, CHAT);
  expect(traces.attempted(request, "main")).toBeUndefined();
  traces.ended(ended());
  expect(faults).toEqual([thrown]);
});
