import { describe, expect, it } from "vitest";
import { Fault } from "../../src/core/errors.ts";
import type { StartRequest } from "../../src/core/gateway.ts";
import {
  type Additions,
  CHAT,
  COMPLETIONS,
  parseObject,
  readPosition,
  readStart,
  type Terms,
} from "../../src/routes/request.ts";
import { faultCode } from "../support/core.ts";

const TERMS: Terms = {
  endpoint: CHAT,
  owner: "team",
  transport: (isStream) => (isStream ? "sse" : "json"),
  impliesStream: false,
  policy: undefined,
  defaultPolicy: "cancel",
  idempotencyKey: undefined,
};
const ADDITIONS: Additions = { defaultModel: () => Promise.resolve("only"), includeUsage: false };

const read = (body: string | Buffer, terms: Partial<Terms> = {}, add: Partial<Additions> = {}) =>
  readStart(Buffer.from(body), { ...TERMS, ...terms }, { ...ADDITIONS, ...add });

const fingerprintOf = async (...given: Parameters<typeof read>): Promise<string> =>
  (await read(...given)).fingerprint();

/** The fault with which the request is refused. */
async function refusal(reading: Promise<StartRequest>): Promise<Fault> {
  try {
    await reading;
  } catch (thrown) {
    if (thrown instanceof Fault) return thrown;
    throw thrown;
  }
  throw new Error("it was not refused");
}

describe("what is read", () => {
  it.each([
    ["1", 1],
    ["3", 3],
    ["2.0", 2],
    ["2.5", 1],
    ["null", 1],
    ['"3"', 1],
  ])("of n: %s asks for %i choices", async (n, choices) => {
    expect((await read(`{"model":"m","messages":[],"n":${n}}`)).choices).toBe(choices);
  });

  it("of an idempotency key: 1 to 255 characters", async () => {
    const keyed = (idempotencyKey: unknown) => read('{"model":"m","messages":[]}', { idempotencyKey });
    expect((await keyed("k")).idempotencyKey).toBe("k");
    expect((await keyed("k".repeat(255))).idempotencyKey).toHaveLength(255);
    for (const key of ["", "k".repeat(256), 7, null, {}]) {
      expect(await refusal(keyed(key))).toMatchObject({ code: "invalid_request", param: "idempotency_key" });
    }
  });

  it.each(["0", "1", "9007199254740991", 0, 7])("of a position: %s", (value) => {
    expect(readPosition(value, "starting_after")).toBe(Number(value));
  });

  it.each([
    "",
    "-1",
    "1.0",
    "1e3",
    " 1",
    "9007199254740992",
    "99999999999999999999",
    "x",
    -1,
    0.5,
    NaN,
    null,
    true,
    {},
  ])("of what is no position: %j", (value) => {
    expect(faultCode(() => readPosition(value, "starting_after"))).toBe("invalid_request");
  });

  it("of bytes that are a view into a larger buffer", () => {
    const around = Buffer.from('xx{"a":1}xx');
    expect(parseObject(around.subarray(2, 9))).toEqual({ a: 1 });
    expect(faultCode(() => parseObject(undefined))).toBe("invalid_json");
  });
});

describe("the fingerprint", () => {
  const TEXT = '{"model":"m","messages":[{"role":"user","content":"é"}],"n":1000}';

  it.each([
    ["members in another order", '{"n":1000,"messages":[{"content":"é","role":"user"}],"model":"m"}'],
    ["white space", '{ "model":"m",\n"messages":[{"role":"user","content":"é"}],"n":1000 }'],
    ["number forms", '{"model":"m","messages":[{"role":"user","content":"é"}],"n":1e3}'],
    ["escapes", '{"model":"m","messages":[{"role":"user","content":"\\u00e9"}],"n":1000.0}'],
    ["the transport's own member", `${TEXT.slice(0, -1)},"stream":false}`],
  ])("is the same for %s", async (_name, text) => {
    expect(await fingerprintOf(text)).toBe(await fingerprintOf(TEXT));
  });

  it.each([
    ["another value", TEXT.replace("é", "e")],
    ["one member more", `${TEXT.slice(0, -1)},"x":null}`],
    ["messages in another order", '{"model":"m","messages":[2,1]}'],
    ["a number as text", TEXT.replace("1000", '"1000"')],
    ["a stream", `${TEXT.slice(0, -1)},"stream":true}`],
  ])("is another for %s", async (_name, text) => {
    expect(await fingerprintOf(text)).not.toBe(await fingerprintOf(TEXT));
  });

  it("is another for another endpoint, and the same on every route that streams", async () => {
    expect(await fingerprintOf(TEXT, { endpoint: COMPLETIONS })).not.toBe(await fingerprintOf(TEXT));
    expect(await fingerprintOf(TEXT, { impliesStream: true })).toBe(
      await fingerprintOf(`${TEXT.slice(0, -1)},"stream":true}`),
    );
  });

  // Text cut in the middle of a character, as JavaScript clients send it, is JSON all the same.
  it.each(['"\\ud83d"', "1e999", '{"\\ud800":-1e999}'])(
    "can be had of what RFC 8785 does not take: %s",
    async (odd) => {
      const text = (n: number): string => `{"model":"m","messages":[${odd}],"seed":${n}}`;
      expect(await fingerprintOf(text(1))).toBe(await fingerprintOf(text(1)));
      expect(await fingerprintOf(text(1))).not.toBe(await fingerprintOf(text(2)));
    },
  );
});
