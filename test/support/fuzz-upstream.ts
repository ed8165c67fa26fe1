/** Hostile input of an upstream, and of whoever writes the settings, drawn by fast-check. */
import fc from "fast-check";
import { json, mutated, shaped, word } from "./fuzz-bytes.ts";

const chunk = fc.oneof(
  fc.constantFrom(
    '{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}',
    '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":-1,"completion_tokens":1e400}}',
    '{"choices":[],"usage":{"total_tokens":"x","completion_tokens":{"a":[]}}}',
    '{"error":{"message":"x","code":7,"type":null,"param":{}}}',
    '{"error":"x"}',
    '{"choices":{"0":1}}',
    '{"choices":[null,{"index":{},"delta":7,"finish_reason":[]}]}',
  ),
  json.map((value) => JSON.stringify(value)),
);

/** What an upstream sends: an answer's head and body, whole or broken. */
export const upstreamBytes: fc.Arbitrary<Buffer> = fc
  .record({
    status: fc.constantFrom(
      "200 OK",
      "200 OK",
      "200 OK",
      "200 OK",
      "204 X",
      "301 X",
      "400 X",
      "401 X",
      "429 X",
      "500 X",
      "999 X",
    ),
    type: fc.constantFrom("text/event-stream", "text/event-stream", "application/json", "text/html", ""),
    extra: fc.constantFrom(
      "",
      "retry-after: x\r\n",
      "content-encoding: gzip\r\n",
      "x-request-id: \xff\xfe\r\n",
      "location: /\r\n",
      "x-ratelimit-a: \t b\r\n",
    ),
    events: fc.array(
      fc.tuple(
        fc.constantFrom("data: ", "data:", "data", ": ", "event: x\ndata: ", "id: 1\n", "retry: 0\n"),
        chunk,
        fc.constantFrom("\n\n", "\r\n\r\n", "\r\r", "\n", ""),
      ),
      { maxLength: 5 },
    ),
    end: fc.constantFrom("data: [DONE]\n\n", "", "data: [DONE]"),
  })
  .chain(({ status, type, extra, events, end }) => {
    const lines = events.map((parts) => parts.join("")).join("");
    const bytes = Buffer.concat([
      Buffer.from(
        `HTTP/1.1 ${status}\r\ncontent-type: ${type}\r\n${extra}connection: close\r\n\r\n`,
        "latin1",
      ),
      Buffer.from(lines + end),
    ]);
    return fc.oneof({ weight: 2, arbitrary: fc.constant(bytes) }, { weight: 2, arbitrary: mutated(bytes) });
  });

const FLAGS = [
  "--port",
  "--host",
  "--upstream",
  "--max-queue",
  "--log-level",
  "--config",
  "--public-url",
  "--cors-origins",
  "--help",
];
const VARIABLES = [
  ...[
    "PORT",
    "HOST",
    "LOG_LEVEL",
    "OPENAI_BASE_URL",
    "OPENAI_API_KEY",
    "SLUICE_CONFIG",
    "SLUICE_API_KEYS",
    "SLUICE_AUTH",
  ],
  ...[
    "SLUICE_MAX_QUEUE",
    "SLUICE_CORS_ORIGINS",
    "SLUICE_PUBLIC_URL",
    "SLUICE_HEARTBEAT_MS",
    "SLUICE_TICKET_SECRET",
  ],
  ...["SLUICE_MAX_BODY_BYTES", "SLUICE_REDIS_URL", "SLUICE_KEY_MAX_QUEUE", "SLUICE_INCLUDE_USAGE"],
];
const value = fc.oneof(
  word,
  fc.constantFrom("8000", "127.0.0.1", "::1", "demo", "http://x/v1", "a:b,c:d", "none", "true", "/c.json"),
);

export const settings = fc.record({
  args: fc.array(
    fc.oneof(
      value,
      fc.constantFrom(...FLAGS),
      fc.tuple(fc.constantFrom(...FLAGS), value).map((it) => it.join("=")),
    ),
    { maxLength: 4 },
  ),
  env: fc.dictionary(
    fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...VARIABLES) }, { weight: 1, arbitrary: word }),
    value,
    { maxKeys: 5 },
  ),
  file: fc.oneof(
    word,
    json.map((it) => JSON.stringify(it)),
    shaped({ maxQueue: fc.nat(), apiKeys: fc.constant(["a:b"]), upstreams: json }).map((it) =>
      JSON.stringify(it),
    ),
  ),
});
