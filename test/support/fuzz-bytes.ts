/** Hostile input of clients, drawn by fast-check: raw bytes, broken and mutated requests, WebSocket frames and messages. */
import fc from "fast-check";

export const NASTY = [
  ...["", "\0", "\r\n", "\n\n", "%", "%zz", "%00", "../", "..%2f", "\u202e", "\ud800", "\ufeff", "é", "😀"],
  ...[
    "__proto__",
    "constructor",
    "prototype",
    "toString",
    "gen_",
    "null",
    "NaN",
    "-1",
    "1e999",
    "9007199254740993",
  ],
  ...["[DONE]", "data: ", "x".repeat(300), "[".repeat(50), '{"a":', "sluice.ticket.", "a: b"],
];

export const word = fc.oneof(
  fc.constantFrom(...NASTY),
  fc.string({ maxLength: 20 }),
  fc.string({ unit: "binary", maxLength: 12 }),
);
const header = (text: string): string => text.replace(/[^\x20-\x7e]/g, "?");

/** Bytes put in, left out, doubled or changed at a few places. */
export const mutated = (text: string | Buffer): fc.Arbitrary<Buffer> => {
  const bytes = Buffer.from(text);
  const change = fc.record({
    at: fc.nat({ max: Math.max(0, bytes.length - 1) }),
    kind: fc.constantFrom("flip", "drop", "double", "insert", "cut", "swap"),
    put: fc.oneof(
      word.map((it) => Buffer.from(it)),
      fc.uint8Array({ maxLength: 8 }).map((it) => Buffer.from(it)),
    ),
    size: fc.integer({ min: 1, max: 24 }),
  });
  return fc.array(change, { minLength: 1, maxLength: 4 }).map((changes) =>
    changes.reduce<Buffer>((now, { at, kind, put, size }) => {
      const [before, after] = [now.subarray(0, at), now.subarray(at)];
      if (kind === "flip")
        return Buffer.concat([before, Buffer.from([(now[at] ?? 0) ^ (1 << (size % 8))]), after.subarray(1)]);
      if (kind === "drop") return Buffer.concat([before, after.subarray(size)]);
      if (kind === "double") return Buffer.concat([before, after.subarray(0, size), after]);
      if (kind === "insert") return Buffer.concat([before, put, after]);
      if (kind === "swap") return Buffer.concat([before, put, after.subarray(put.length)]);
      return before;
    }, bytes),
  );
};

export const json: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 3, arbitrary: fc.jsonValue({ maxDepth: 3 }) },
  { weight: 1, arbitrary: word },
  { weight: 1, arbitrary: fc.constantFrom<unknown>(null, true, -1, 1e308, [], {}, [[]], "x") },
);

/** An object whose members are mostly there and as they should be, and otherwise anything. */
export const shaped = (members: Readonly<Record<string, fc.Arbitrary<unknown>>>): fc.Arbitrary<object> => {
  const wild = Object.entries(members).map(
    ([name, good]) =>
      [name, fc.oneof({ weight: 3, arbitrary: good }, { weight: 1, arbitrary: json })] as const,
  );
  return fc.oneof(
    { weight: 2, arbitrary: fc.record(members) },
    { weight: 2, arbitrary: fc.record(Object.fromEntries(wild)) },
    { weight: 1, arbitrary: fc.record(Object.fromEntries(wild), { requiredKeys: [] }) },
  );
};

/** Short and ended at once, so that hundreds of thousands of them leave nothing behind. */
const chatBody = shaped({
  model: fc.constantFrom("sluice-demo", "other"),
  messages: fc.constant([{ role: "user", content: "x" }]),
  stream: fc.boolean(),
  n: fc.constant(1),
  stream_options: fc.constant({ include_usage: true }),
  user: word,
});

const body = fc.oneof(
  { weight: 4, arbitrary: chatBody },
  {
    weight: 2,
    arbitrary: shaped({
      request: chatBody,
      endpoint: fc.constant("/v1/completions"),
      on_disconnect: fc.constant("cancel"),
    }),
  },
  { weight: 1, arbitrary: shaped({ prompt: word, model: word }) },
  { weight: 1, arbitrary: shaped({ ttl_s: fc.constant(5), generation: word }) },
  { weight: 1, arbitrary: json },
);

const PATHS = [
  ...["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/generations", "/v1/tickets", "/chat"],
  ...[
    "/v1/models",
    "/v1/models/x",
    "/v1/ws",
    "/metrics",
    "/",
    "/livez",
    "/openapi.json",
    "/v1/x",
    "*",
    "http://x/livez",
  ],
];

export interface Targets {
  readonly host: string;
  readonly key: string;
  /** Ids of another key's generations: asked for, and never to be given. */
  readonly foreign: readonly string[];
}

const path = ({ foreign }: Targets): fc.Arbitrary<string> =>
  fc.oneof(
    fc.constantFrom(...PATHS),
    fc
      .tuple(
        fc.constantFrom(...foreign, "gen_x"),
        fc.constantFrom("", "/events", "/cancel", "/events?starting_after="),
        word,
      )
      .map(([id, rest, more]) => `/v1/generations/${id}${rest}${encodeURIComponent(more.toWellFormed())}`),
    fc
      .tuple(fc.constantFrom(...PATHS), word)
      .map(([at, more]) => `${at}${header(more).replaceAll(" ", "+")}`),
  );

const headers = (targets: Targets): fc.Arbitrary<Record<string, string>> => {
  const optional = {
    "idempotency-key": word.map(header),
    "last-event-id": fc.oneof(
      word.map(header),
      fc.constantFrom(...targets.foreign).map((id) => `${id}:0`),
    ),
    "x-request-id": word.map(header),
    "x-sluice-on-disconnect": fc.oneof(word.map(header), fc.constant("cancel")),
    accept: fc.constantFrom("text/plain", "text/event-stream", "*/*"),
    origin: fc.constantFrom(`http://${targets.host}`, "http://evil.example", "null", "%"),
    "sec-fetch-site": fc.constantFrom("same-origin", "cross-site", "none", "?"),
    "content-type": fc.constantFrom("application/json", "application/json; charset=x", "text/plain", ""),
    "sec-websocket-protocol": word.map(header),
    range: fc.constant("bytes=0-1"),
  };
  const known = ["host", "authorization"];
  const authorization = fc.constantFrom(
    ...Array<string>(12).fill(`Bearer ${targets.key}`),
    "Bearer x",
    "Basic x",
  );
  const all = fc.record({ host: fc.constant(targets.host), authorization, ...optional });
  // A few at a time: of many, one is always refused.
  const kept = fc.subarray(Object.keys(optional), { maxLength: 2 });
  return fc
    .tuple(all, kept)
    .map(([fields, names]) =>
      Object.fromEntries(Object.entries(fields).filter(([name]) => [...known, ...names].includes(name))),
    );
};

/** A whole request, well framed, so that many of them go down one kept connection. */
export const request = (targets: Targets): fc.Arbitrary<Buffer> =>
  fc
    .tuple(
      fc.constantFrom("GET", "POST", "POST", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH"),
      path(targets),
      headers(targets),
      fc.oneof(
        { weight: 4, arbitrary: body.map((value) => Buffer.from(JSON.stringify(value))) },
        { weight: 2, arbitrary: chatBody.chain((value) => mutated(JSON.stringify(value))) },
        { weight: 1, arbitrary: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)) },
      ),
    )
    .map(([method, at, fields, content]) => {
      const isSent = method !== "GET" && method !== "HEAD";
      const all = isSent
        ? { "content-type": "application/json", ...fields, "content-length": String(content.length) }
        : fields;
      const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
      return Buffer.concat([
        Buffer.from(`${method} ${at} HTTP/1.1\r\n${lines.join("")}\r\n`, "latin1"),
        isSent ? content : Buffer.alloc(0),
      ]);
    });

/** What is no request any more, or never was: each on a connection of its own. */
export const broken = (targets: Targets): fc.Arbitrary<Buffer> =>
  fc.oneof(
    { weight: 3, arbitrary: request(targets).chain((bytes) => mutated(bytes)) },
    {
      weight: 1,
      arbitrary: fc.uint8Array({ minLength: 1, maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    },
  );

/** A WebSocket message: the protocol's, with members that are not. */
export const message = ({ foreign }: Targets): fc.Arbitrary<Buffer> => {
  const id = fc.constantFrom("a", "b", "c", "d");
  const generation = fc.oneof(fc.constantFrom(...foreign), word);
  const good = fc.oneof(
    shaped({
      type: fc.constant("generate"),
      id,
      request: chatBody,
      on_disconnect: fc.constant("cancel"),
      idempotency_key: word,
    }),
    shaped({ type: fc.constant("subscribe"), id, generation, starting_after: fc.nat({ max: 5 }) }),
    shaped({ type: fc.constant("unsubscribe"), id }),
    shaped({ type: fc.constant("cancel"), id, generation }),
    fc.constantFrom(...foreign).map((named) => ({ type: "cancel", generation: named })),
    fc.constantFrom(...foreign).map((named) => ({ type: "subscribe", id: "e", generation: named })),
    shaped({ type: fc.constantFrom("ping", "ready", "event") }),
  );
  const text = good.map((value) => JSON.stringify(value));
  return fc.oneof(
    { weight: 3, arbitrary: text.map((it) => Buffer.from(it)) },
    { weight: 2, arbitrary: text.chain((it) => mutated(it)) },
  );
};

/** Frames as RFC 6455 has them, and as it has not. */
export const frame = (targets: Targets): fc.Arbitrary<Buffer> =>
  fc
    .record({
      opcode: fc.constantFrom(1, 1, 1, 1, 0, 2, 8, 9, 10, 3, 11),
      fin: fc.constantFrom(true, true, true, false),
      masked: fc.constantFrom(true, true, true, true, true, false),
      rsv: fc.constantFrom(0, 0, 0, 0, 0, 0, 1, 4),
      lie: fc.constantFrom(0, 0, 0, 0, 0, 0, 0, 1, -1, 1000),
      payload: fc.oneof(
        message(targets),
        fc.uint8Array({ maxLength: 140 }).map((bytes) => Buffer.from(bytes)),
      ),
    })
    .map(({ opcode, fin, masked, rsv, lie, payload }) => {
      const size = Math.max(0, Math.min(65_535, payload.length + lie));
      const head = [(fin ? 0x80 : 0) | (rsv << 4) | opcode];
      const bit = masked ? 0x80 : 0;
      if (size < 126) head.push(bit | size);
      else head.push(bit | 126, size >> 8, size & 255);
      const key = [7, 77, 177, 27];
      if (!masked) return Buffer.concat([Buffer.from(head), payload]);
      return Buffer.concat([
        Buffer.from(head),
        Buffer.from(key),
        payload.map((byte, at) => byte ^ (key[at % 4] as number)),
      ]);
    });
