/** Another upstream is asked while nothing has been shown, unseen by any client; and never once something has. */
import { afterEach, describe, expect, test } from "vitest";
import type { Script, ScriptFault } from "../../src/emulator/index.ts";
import { chat } from "../support/requests.ts";
import {
  NOBODY,
  startOverUpstreams,
  type UpstreamPlan,
  type UpstreamsGateway,
} from "../support/upstreams.ts";
import { askBy, type Told, textOf, WAYS, type Way } from "../support/ways.ts";

const TEXT = "From the second lock, with care.";
/** What A says is padded with a member that B's answers lack: a trace of A could not be overlooked. */
const TRACE = "obfuscation";

let gateway: UpstreamsGateway | undefined;
afterEach(async () => {
  await gateway?.close();
  gateway = undefined;
});

/** A, preferred, and B, which serves. */
async function over(a: Omit<UpstreamPlan, "name">, env?: Record<string, string>): Promise<UpstreamsGateway> {
  gateway = await startOverUpstreams(
    [
      { name: "a", ...a },
      { name: "b", script: { text: TEXT } },
    ],
    env,
  );
  return gateway;
}

const fails = (fault: ScriptFault, more: Script = {}): Script => ({
  text: "From the first lock.",
  payload_bytes: 400,
  fault,
  ...more,
});

/** Headers name who answered and after how many attempts, where they leave late enough to know. */
function expectNames(way: Way, told: Told, upstream: string, attempts: number): void {
  if (way === "/events" || way === "WebSocket") return;
  expect([told.upstream, told.attempts]).toEqual([upstream, String(attempts)]);
}

/** The client saw B's answer and nothing else. */
function expectFromB(way: Way, told: Told): void {
  expect(told).toMatchObject({ status: "completed", code: undefined, endings: 1 });
  expect(told.payloads.join("")).not.toContain(TRACE);
  expect(textOf(told.payloads)).toBe(TEXT);
  const ids = new Set(told.payloads.map((payload) => (JSON.parse(payload) as { id: string }).id));
  expect(ids.size).toBe(1);
  const roles = told.payloads.filter((payload) => payload.includes(`"role":"assistant","content":""`));
  expect(roles).toHaveLength(way === "not streamed" ? 0 : 1);
}

/** An upstream's failure, and what the metrics call it: the request's code, the reason to move on (streamed, and whole). */
interface Failure {
  readonly name: string;
  readonly a: Omit<UpstreamPlan, "name">;
  readonly code: string;
  readonly reason: string;
  readonly whole: string;
}

const answers = (status: number, headers?: Record<string, string>): Failure["a"] => ({
  script: fails({ kind: "status", status, ...(headers === undefined ? {} : { headers }) }),
});
const IMPATIENT = { firstTokenTimeoutMs: 150, totalTimeoutMs: 150 };
const plays = (kind: ScriptFault["kind"], member: object = {}): Failure["a"] => ({
  script: fails({ kind }),
  member,
});

const FAILURES: readonly Failure[] = (
  [
    ["nobody listens", { baseUrl: NOBODY }, "upstream_unreachable", "upstream_unreachable"],
    [
      "its name cannot be found",
      { baseUrl: "http://nowhere.invalid/v1" },
      "upstream_unreachable",
      "upstream_unreachable",
    ],
    ["500", answers(500), "500", "upstream_error"],
    ["503", answers(503), "503", "upstream_error"],
    ["503 with Retry-After", answers(503, { "retry-after": "1" }), "503", "upstream_error"],
    ["429 with Retry-After", answers(429, { "retry-after": "1" }), "429", "upstream_error"],
    ["429 without", answers(429), "429", "upstream_error"],
    ["408", answers(408), "408", "upstream_error"],
    ["401", answers(401), "401", "upstream_error"],
    ["403", answers(403), "403", "upstream_error"],
    ["an error in plain text", plays("plain_error"), "500", "upstream_error"],
    ["half of a JSON error", plays("malformed_error"), "500", "upstream_error"],
    ["a redirect", plays("redirect"), "307", "upstream_error"],
    ["it hangs up", plays("no_answer"), "upstream_disconnected", "upstream_disconnected"],
    ["reset before headers", plays("reset_before_headers"), "upstream_disconnected", "upstream_disconnected"],
    ["reset after headers", plays("headers_then_reset"), "200", "upstream_disconnected"],
    ["reset after the role", plays("reset"), "200", "upstream_disconnected"],
    ["end after the role", plays("eof"), "200", "upstream_disconnected", "upstream_error"],
    ["half an event", plays("half_event"), "200", "upstream_disconnected", "upstream_error"],
    ["half a character", plays("half_utf8"), "200", "upstream_disconnected", "upstream_error"],
    ["an error event", plays("error_event"), "200", "upstream_error"],
    ["an error that is a string", plays("error_string"), "200", "upstream_error"],
    ["an error without message", plays("error_object_no_message"), "200", "upstream_error"],
    ["no JSON", plays("garbage"), "200", "upstream_error"],
    ["no UTF-8", plays("not_utf8"), "200", "upstream_error"],
    [
      "silence before headers",
      plays("hang_before_headers", IMPATIENT),
      "upstream_timeout",
      "upstream_timeout",
    ],
    ["silence after the role", plays("hang", IMPATIENT), "200", "upstream_timeout"],
    ["comments without end", plays("comments", IMPATIENT), "200", "upstream_timeout"],
  ] satisfies [string, Failure["a"], string, string, string?][]
).map(([name, a, code, reason, whole = reason]) => ({ name, a, code, reason, whole }));

describe.each(FAILURES)("A fails before content: $name", ({ a, code, reason, whole }) => {
  test.each(WAYS)("%s is served by B", async (way) => {
    const { url, wsUrl, asked, metric } = await over(a);
    const told = await askBy(way, { url, wsUrl }, chat({}));
    expectFromB(way, told);
    expectNames(way, told, "b", 2);
    expect([asked("a"), asked("b")]).toEqual([a.baseUrl === undefined ? 1 : 0, 1]);
    const retried = { upstream: "a", reason: way === "not streamed" ? whole : reason };
    expect(
      await Promise.all([
        metric("sluice_upstream_requests_total", { upstream: "a", code }),
        metric("sluice_upstream_requests_total", { upstream: "b", code: "200" }),
        metric("sluice_upstream_requests_total"),
        metric("sluice_upstream_retries_total", retried),
        metric("sluice_upstream_retries_total"),
        metric("sluice_requests_total", { outcome: "completed" }),
        metric("sluice_requests_total"),
      ]),
    ).toEqual([1, 1, 2, 1, 1, 1, 1]);
  });
});

const STREAMED = WAYS.filter((way) => way !== "not streamed");

describe.each<[ScriptFault["kind"], string]>([
  ["reset", "upstream_disconnected"],
  ["eof", "upstream_disconnected"],
  ["half_event", "upstream_disconnected"],
  ["error_event", "emulator_fault"],
  ["hang", "upstream_stalled"],
])("A fails after content: %s", (kind, code) => {
  test.each(STREAMED)("%s ends honestly, and B is never asked", async (way) => {
    const script = fails({ kind, after_tokens: 2 });
    const { url, wsUrl, asked, metric } = await over({ script, member: { stallTimeoutMs: 150 } });
    const told = await askBy(way, { url, wsUrl }, chat({}));
    expect(told).toMatchObject({ status: "failed", code, endings: 1 });
    expect(textOf(told.payloads)).toBe("From the");
    expectNames(way, told, "a", 1);
    expect([asked("a"), asked("b")]).toEqual([1, 0]);
    expect(await metric("sluice_upstream_retries_total")).toBe(0);
  });
});

describe.each([400, 404, 409, 413, 422])("A refuses the request itself with %i", (status) => {
  test.each(WAYS)("%s is told so, and B is never asked", async (way) => {
    const headers = { "retry-after": "7" };
    const { url, wsUrl, asked } = await over(answers(status, headers));
    const told = await askBy(way, { url, wsUrl }, chat({}));
    expect(told).toMatchObject({ status: "failed", endings: 1, payloads: [] });
    // A's own words, byte for byte, where there is an HTTP status to go with them; elsewhere completed for the ending.
    const isRelayed = way === "stock SSE" || way === "not streamed";
    expect(told.code).toBe(isRelayed ? null : "upstream_error");
    if (isRelayed) expect(told.httpStatus).toBe(status);
    expectNames(way, told, "a", 1);
    expect([asked("a"), asked("b")]).toEqual([1, 0]);
  });
});

describe("the request's own time for the first content", () => {
  test.each(WAYS)("is not retried when it is up: %s", async (way) => {
    const script = fails({ kind: "hang_before_headers" });
    const limits = { SLUICE_FIRST_TOKEN_TIMEOUT_MS: "150", SLUICE_TOTAL_TIMEOUT_MS: "150" };
    const { url, wsUrl, asked } = await over({ script }, limits);
    const told = await askBy(way, { url, wsUrl }, chat({}));
    expect(told).toMatchObject({ status: "failed", code: "upstream_timeout", endings: 1 });
    expect([asked("a"), asked("b")]).toEqual([1, 0]);
  });

  test("runs on over all attempts", async () => {
    const script = fails({ kind: "hang" });
    const { url, wsUrl, emulator, asked } = await over(
      { script, member: { firstTokenTimeoutMs: 100 } },
      { SLUICE_FIRST_TOKEN_TIMEOUT_MS: "400" },
    );
    emulator("b").script = () => ({ fault: { kind: "hang" } });
    const told = await askBy("stock SSE", { url, wsUrl }, chat({}));
    expect(told).toMatchObject({ httpStatus: 504, code: "upstream_timeout", upstream: "b", attempts: "2" });
    expect([asked("a"), asked("b")]).toEqual([1, 1]);
  });
});

describe("when all upstreams fail before content", () => {
  test.each(WAYS)("the last one's failure is told: %s", async (way) => {
    const { url, wsUrl, emulator, metric } = await over({ baseUrl: NOBODY });
    emulator("b").script = () => ({
      fault: { kind: "status", status: 429, headers: { "retry-after": "3" } },
    });
    const told = await askBy(way, { url, wsUrl }, chat({}));
    expect(told).toMatchObject({ status: "failed", code: "rate_limit_exceeded", endings: 1 });
    expectNames(way, told, "b", 2);
    if (way === "stock SSE" || way === "not streamed") expect(told.httpStatus).toBe(429);
    expect(await metric("sluice_requests_total", { outcome: "failed" })).toBe(1);
    expect(await metric("sluice_upstream_retries_total")).toBe(1);
  });
});
