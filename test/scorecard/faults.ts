/** What can go wrong upstream, each as a request that makes it go wrong. */
import type { Script, ScriptFault } from "../../src/emulator/index.ts";
import { chat } from "../support/requests.ts";

export const TEXT = "The gate lifts slowly, and the café boats wait.";

export interface Fault {
  readonly name: string;
  /** Whether clients must see a failure, or an ending as good as any: the model had said that it was done. */
  readonly must: "fail" | "end well";
  readonly request: Readonly<Record<string, unknown>>;
}

/** Models whose upstream cannot be asked at all; the composition gives each its own. */
export const UNREACHABLE = { refused: "refused", unnamed: "unnamed", insecure: "insecure" } as const;

const unreachable = (name: string, model: string): Fault => ({
  name,
  must: "fail",
  request: chat({}, { model }),
});

const plays = (name: string, fault: ScriptFault, must: Fault["must"] = "fail", more: Script = {}): Fault => ({
  name,
  must,
  request: chat({ text: TEXT, ...more, fault }),
});

const status = (name: string, code: number, more: Partial<ScriptFault> = {}): Fault =>
  plays(name, { kind: "status", status: code, ...more });

/** After the role and three words. */
const midway = (name: string, kind: ScriptFault["kind"], more: Partial<ScriptFault> = {}): Fault =>
  plays(name, { kind, after_tokens: 3, ...more });

const afterFinish = (name: string, kind: ScriptFault["kind"]): Fault =>
  plays(name, { kind, after_finish: true }, "end well");

export const FAULTS: readonly Fault[] = [
  unreachable("connection refused", UNREACHABLE.refused),
  unreachable("no such host (DNS)", UNREACHABLE.unnamed),
  unreachable("TLS handshake fails", UNREACHABLE.insecure),
  plays("closed before headers", { kind: "no_answer" }),
  plays("reset before headers", { kind: "reset_before_headers" }),
  plays("silence before headers", { kind: "hang_before_headers" }),
  status("400", 400),
  status("401 (the gateway's own key)", 401),
  status("404", 404),
  status("422", 422),
  status("429 without Retry-After", 429),
  status("429 with Retry-After: 7", 429, { headers: { "retry-after": "7" } }),
  status("500", 500),
  status("503", 503),
  plays("400 in plain text", { kind: "plain_error", status: 400 }),
  plays("500 in plain text", { kind: "plain_error" }),
  plays("400 with half of a JSON error", { kind: "malformed_error", status: 400 }),
  plays("500 with half of a JSON error", { kind: "malformed_error" }),
  plays("307 to elsewhere", { kind: "redirect" }),
  plays("200 with a web page", {
    kind: "status",
    status: 200,
    headers: { "content-type": "text/html" },
    body: "<html><body>Sign in</body></html>",
  }),
  plays("200 with an empty stream", {
    kind: "status",
    status: 200,
    headers: { "content-type": "text/event-stream" },
    body: "",
  }),
  plays("reset after headers", { kind: "headers_then_reset" }),
  plays("ends before the first content", { kind: "eof" }),
  plays("reset before the first content", { kind: "reset" }),
  plays("silence before the first content", { kind: "hang" }),
  plays("endless comments before the first content", { kind: "comments" }),
  plays("error event before the first content", { kind: "error_event" }),
  midway("ends in mid-stream", "eof"),
  midway("reset in mid-stream", "reset"),
  midway("ends in mid-event", "half_event"),
  midway("reset in mid-event", "half_event", { afterwards: "reset" }),
  midway("ends within a UTF-8 character", "half_utf8"),
  midway("bytes that are not UTF-8", "not_utf8"),
  midway("error event: an object", "error_event"),
  midway("error event: an object without message", "error_object_no_message"),
  midway("error event: a string", "error_string"),
  midway("error event, and the stream goes on to its [DONE]", "error_event", { afterwards: "continue" }),
  midway("an event that is not JSON", "garbage"),
  midway("an event that is not JSON, and the stream goes on to its [DONE]", "garbage", {
    afterwards: "continue",
  }),
  midway("silence in mid-stream", "hang"),
  midway("endless comments in mid-stream", "comments"),
  plays("ends without a finish reason or [DONE]", { kind: "eof", after_finish: true }, "fail", {
    finish_reason: null,
  }),
  afterFinish("ends after the finish reason", "eof"),
  afterFinish("reset after the finish reason", "reset"),
  afterFinish("silence after the finish reason", "hang"),
];
