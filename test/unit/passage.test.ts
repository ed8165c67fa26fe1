import { describe, expect, it } from "vitest";
import type { RequestFacts, TraceHeaders } from "../../src/core/ports.ts";
import { passage } from "../../src/observe/passage.ts";

const ID = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";

function passed(trace: TraceHeaders | undefined): TraceHeaders | undefined {
  const origin = { requestId: "req_1", ...(trace === undefined ? {} : { trace }) };
  const request: RequestFacts = { model: "m", transport: "sse", key: "none", origin };
  return passage.attempted?.(request, "main");
}

describe("without an SDK", () => {
  it.each([
    ["version 00", `00-${ID}-01`],
    ["not sampled", `00-${ID}-00`],
    ["a later version", `01-${ID}-01`],
    ["a later version that says more", `cc-${ID}-01-what-will-be`],
  ])("a traceparent goes on as it came: %s", (_, traceparent) => {
    expect(passed({ traceparent })).toEqual({ traceparent });
  });

  it.each([
    ["nothing", ""],
    ["version ff", `ff-${ID}-01`],
    ["version 00 with more", `00-${ID}-01-more`],
    ["upper case", `00-${ID.toUpperCase()}-01`],
    ["a trace of zeros", `00-${"0".repeat(32)}-00f067aa0ba902b7-01`],
    ["a parent of zeros", `00-4bf92f3577b34da6a3ce929d0e0e4736-${"0".repeat(16)}-01`],
    ["too short", `00-${ID.slice(1)}-01`],
    ["two at once", `00-${ID}-01, 00-${ID}-01`],
    ["a line of its own", `00-${ID}-01\r\nx: y`],
    ["two lines", `x\n00-${ID}-01`],
  ])("an invalid one does not, nor its tracestate: %s", (_, traceparent) => {
    expect(passed({ traceparent, tracestate: "a=b" })).toBeUndefined();
  });

  it("tracestate goes with it, unless it is too long or no text for a header", () => {
    const traceparent = `00-${ID}-01`;
    expect(passed({ traceparent, tracestate: "a=b,c=d" })).toEqual({ traceparent, tracestate: "a=b,c=d" });
    expect(passed({ traceparent, tracestate: `a=${"b".repeat(511)}` })).toEqual({ traceparent });
    expect(passed({ traceparent, tracestate: "a=\u00e9" })).toEqual({ traceparent });
    expect(passed({ tracestate: "a=b" })).toBeUndefined();
  });

  it("a request that names no trace costs nothing", () => {
    expect(passed(undefined)).toBeUndefined();
    expect(passage.attempted?.({ model: "m", transport: "sse", key: "none" }, "main")).toBeUndefined();
  });
});
