import { pino } from "pino";
import prettyFactory from "pino-pretty";
import { describe, expect, it } from "vitest";
import { ERRORS, type ErrorCode, Fault } from "../../src/core/errors.ts";
import type { EndFacts, RequestFacts } from "../../src/core/ports.ts";
import { RequestLog } from "../../src/observe/request-log.ts";
import { TERMINAL } from "../../src/observe/terminal.ts";

const request: RequestFacts = {
  model: "alpha",
  transport: "sse",
  key: "team",
  origin: { requestId: "req_1", trace: { traceparent: "PLANTED" } },
  generation: "gen_1",
};

const facts = (more: Partial<EndFacts> = {}): EndFacts => ({
  ...request,
  outcome: "completed",
  streamed: true,
  timing: { queue_ms: 1, upstream_ttft_ms: 20, ttft_ms: 21, duration_ms: 1500 },
  streaming_ms: 1000,
  tokens: { input: 9, output: 5 },
  contentEvents: 5,
  upstream: "main",
  attempts: 2,
  bytes: 100,
  ...more,
});

const failed = (fault: Fault): EndFacts => facts({ outcome: "failed", code: fault.code, fault });

/** What a real logger writes. */
function written(act: (log: RequestLog) => void): string[] {
  const lines: string[] = [];
  act(new RequestLog(pino({ level: "trace" }, { write: (line: string) => void lines.push(line) })));
  return lines;
}

function line(act: (log: RequestLog) => void): Record<string, unknown> {
  const lines = written(act);
  expect(lines).toHaveLength(1);
  const { time, pid, hostname, ...rest } = JSON.parse(lines[0] ?? "") as Record<string, unknown>;
  return rest;
}

const INFO = 30;
const WARN = 40;
const ERROR = 50;

describe("the line of a request", () => {
  it("tells what is known at its end, by name", () => {
    expect(line((log) => log.ended(facts()))).toEqual({
      level: INFO,
      msg: "request",
      request_id: "req_1",
      generation: "gen_1",
      model: "alpha",
      transport: "sse",
      key: "team",
      outcome: "completed",
      upstream: "main",
      attempts: 2,
      queue_ms: 1,
      upstream_ttft_ms: 20,
      ttft_ms: 21,
      duration_ms: 1500,
      tokens: { input: 9, output: 5 },
      content_events: 5,
      bytes: 100,
    });
  });

  it("of a refusal has its code, and no generation", () => {
    const { generation, ...refused } = request;
    const fault = new Fault("queue_full", { message: "PLANTED" });
    expect(line((log) => log.refused(refused, "queue_full", fault))).toEqual({
      level: INFO,
      msg: "request",
      request_id: "req_1",
      model: "alpha",
      transport: "sse",
      key: "team",
      outcome: "queue_full",
      code: "queue_full",
    });
  });

  it.each(Object.entries(ERRORS))("of %s is a warning where it is not the client's doing", (code, row) => {
    const { level } = line((log) => log.ended(failed(new Fault(code as ErrorCode))));
    if (code === "internal_error") expect(level).toBe(ERROR);
    else expect(level).toBe(row.status < 500 ? INFO : WARN);
  });

  it("of an upstream's own refusal is the client's to read", () => {
    const fault = new Fault("upstream_error", { said: { status: 422, body: Buffer.from("PLANTED") } });
    const shown = { level: INFO, outcome: "failed", code: "upstream_error", upstream_status: 422 };
    expect(line((log) => log.ended(failed(fault)))).toMatchObject(shown);
  });

  it("of an unexpected error says where it was thrown, and not what it says", () => {
    const fault = new Fault("internal_error", { cause: new TypeError("PLANTED\n    PLANTED") });
    const shown = line((log) => log.ended(failed(fault)));
    expect(shown).toMatchObject({ thrown: "TypeError" });
    expect(JSON.stringify(shown["at"])).toContain("request-log.test.ts");
    expect(JSON.stringify(shown)).not.toContain("PLANTED");
  });

  it("repeats of a model's name what fits on a line", () => {
    const model = `a\nb\u001b[2J${"x".repeat(1000)}`;
    expect(line((log) => log.ended(facts({ model })))["model"]).toBe(`a b [2J${"x".repeat(249)}`);
  });
});

it("an upstream's health is told as it changes", () => {
  expect(line((log) => log.upstreamHealth("main", "failing"))).toMatchObject({
    level: WARN,
    upstream: "main",
  });
  expect(line((log) => log.upstreamHealth("main", "well"))).toMatchObject({ level: INFO, upstream: "main" });
});

describe("on a terminal", () => {
  const pretty = prettyFactory.prettyFactory({ ...TERMINAL, colorize: false });
  const shown = (act: (log: RequestLog) => void): string => {
    const [text = ""] = written(act).map((text) => String(pretty(text)));
    return text.replace(/^\[[\d:.]+\] /, "");
  };

  it("a request is one line", () => {
    expect(shown((log) => log.ended(facts()))).toBe(
      "INFO: request completed alpha sse [main] 1500 ms, first token 21 ms, 5 tokens gen_1\n",
    );
    const { generation, ...refused } = request;
    expect(
      shown((log) => log.refused({ ...refused, model: undefined }, "invalid", new Fault("invalid_json"))),
    ).toBe("INFO: request invalid (invalid_json) sse\n");
  });

  it("other lines stay as they are, with what else they say", () => {
    expect(shown((log) => log.upstreamHealth("main", "well"))).toBe("INFO: upstream serves again [main]\n");
    expect(String(pretty({ level: INFO, msg: "draining", signal: "SIGTERM" }))).toContain(
      'signal: "SIGTERM"',
    );
  });
});
