import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Fault } from "../../src/core/errors.ts";
import type { StartRequest } from "../../src/core/gateway.ts";
import {
  type Additions,
  CHAT,
  COMPLETIONS,
  memberBytes,
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

const sent = async (...given: Parameters<typeof read>): Promise<string> =>
  Buffer.from((await read(...given)).body).toString();

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

/**
 * Without backslashes: once JSON.parse of V8 14.6 (Node 26.10) has seen a member called `\\`, it takes an escaped name in the
 * same place of another object for that one. The bytes that go out are right all the same, but it cannot judge them.
 */
const memberName = fc.string().filter((name) => !name.includes("\\"));
const jsonValue = fc.jsonValue().filter((value) => !JSON.stringify(value).includes("\\\\"));

describe("a body that is complete", () => {
  it.each([
    [
      "number forms",
      '{"model":"m","messages":[],"a":1e3,"b":1.0,"c":-0,"d":12345678901234567890123,"e":1E-7}',
    ],
    ["key order, white space and line ends", '\r\n{ "z" : 1,\t"messages":[ ] ,\n "model" : "m" , "a":2 }\n '],
    ["escapes", '{"model":"m","messages":["\\u00e9\\/\\ud83d\\ude00 \\ud800 é😀"]}'],
    [
      "unknown members, and a member twice",
      '{"model":"m","messages":[],"x_new":{"deep":[null]},"seed":1,"seed":2}',
    ],
    ["a member called __proto__", '{"model":"m","messages":[],"__proto__":{"stream":true}}'],
  ])("goes out byte for byte: %s", async (_name, text) => {
    const bytes = Buffer.from(text);
    const start = await readStart(bytes, TERMS, ADDITIONS);
    expect(start.body).toBe(bytes);
    expect([start.stream, start.model, start.transport]).toEqual([false, "m", "json"]);
  });

  it("goes out byte for byte where it streams and the route implies it", async () => {
    const text = '{"messages":[], "stream" : true,"model":"m"}';
    expect(await sent(text, { impliesStream: true })).toBe(text);
    expect(await sent(text, {}, { includeUsage: false })).toBe(text);
  });

  it("goes out byte for byte, whatever JSON it holds", async () => {
    await fc.assert(
      fc.asyncProperty(fc.dictionary(memberName, jsonValue), async (members) => {
        const text = JSON.stringify({ ...members, model: "m", messages: [], stream: true }, null, 1);
        expect(await sent(text, { impliesStream: true })).toBe(text);
      }),
    );
  });
});

describe("what is added", () => {
  it("is the model, put first, and all else stays", async () => {
    expect(await sent(' { "messages":[],"n":1.0 } ')).toBe(' {"model":"only", "messages":[],"n":1.0 } ');
    expect((await read('{"messages":[]}')).model).toBe("only");
  });

  it("makes valid JSON even of an empty object", async () => {
    expect(await sent(" { } ", { endpoint: COMPLETIONS })).toBe(' {"model":"only" } ');
  });

  it("is the stream: put first, or replaced where it stands", async () => {
    const implied = { impliesStream: true };
    expect(await sent('{"model":"m","messages":[]}', implied)).toBe(
      '{"stream":true,"model":"m","messages":[]}',
    );
    for (const value of ["false", "null"]) {
      const text = `{ "model":"m", "stream" : ${value} , "messages":[1.0] }`;
      expect(await sent(text, implied)).toBe(text.replace(value, "true"));
    }
  });

  it("is true to the last of several members, as JSON.parse is", async () => {
    const text = '{"model":"m","messages":[],"stream":true,"stream":false}';
    const body = await sent(text, { impliesStream: true });
    expect(JSON.parse(body)).toMatchObject({ stream: true });
  });

  it("is no member of the same name further in", async () => {
    const text = '{"model":"m","messages":[{"stream":false}],"x":{"stream":false},"stream":false}';
    expect(await sent(text, { impliesStream: true })).toBe(text.replace(/false}$/, "true}"));
  });

  it("is the wish for usage, beside the client's other options, and only for a stream", async () => {
    const add = { includeUsage: true };
    const start = await read('{"model":"m","messages":[],"stream":true}', {}, add);
    expect(Buffer.from(start.body).toString()).toBe(
      '{"stream_options":{"include_usage":true},"model":"m","messages":[],"stream":true}',
    );
    expect(start.withholdUsage).toBe(true);
    const options =
      '{"model":"m","messages":[],"stream":true,"stream_options":{"a":1,"include_usage":false}}';
    expect(JSON.parse(await sent(options, {}, add)).stream_options).toEqual({ a: 1, include_usage: true });
    const text = '{"model":"m","messages":[]}';
    expect([await sent(text, {}, add), (await read(text, {}, add)).withholdUsage]).toEqual([text, false]);
  });

  it("is nothing where the client itself asks for usage", async () => {
    const text = '{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}';
    const start = await read(text, {}, { includeUsage: true });
    expect([Buffer.from(start.body).toString(), start.withholdUsage]).toEqual([text, false]);
  });

  it("leaves every other member's value alone, whatever they are", async () => {
    const bodies = fc.dictionary(memberName, jsonValue, { maxKeys: 5 });
    await fc.assert(
      fc.asyncProperty(bodies, fc.constantFrom(undefined, false, null), async (members, stream) => {
        const { model: _model, stream: _stream, stream_options: _options, ...others } = members;
        const text = JSON.stringify({ ...others, messages: [], ...(stream === undefined ? {} : { stream }) });
        const body = await sent(text, { impliesStream: true }, { includeUsage: true });
        expect(JSON.parse(body)).toEqual({
          ...JSON.parse(text),
          model: "only",
          stream: true,
          stream_options: { include_usage: true },
        });
      }),
    );
  });
});

describe("a body that is refused", () => {
  it.each([
    ["nothing", "", "invalid_json", null],
    ["no JSON", "{", "invalid_json", null],
    ["not UTF-8", Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]), "invalid_json", null],
    ["a list", "[]", "invalid_request", null],
    ["null", "null", "invalid_request", null],
    ["a model that is no name", '{"model":7,"messages":[]}', "invalid_request", "model"],
    ["an empty model", '{"model":"","messages":[]}', "invalid_request", "model"],
    [
      "a stream that is no boolean",
      '{"model":"m","messages":[],"stream":"true"}',
      "invalid_request",
      "stream",
    ],
    ["no messages", '{"model":"m"}', "invalid_request", "messages"],
    ["messages that are no list", '{"model":"m","messages":{}}', "invalid_request", "messages"],
  ])("has %s", async (_name, body, code, param) => {
    expect(await refusal(read(body))).toMatchObject({ code, param });
  });

  it("names a policy that there is not", async () => {
    const text = '{"model":"m","messages":[]}';
    expect(await refusal(read(text, { policy: "later" }))).toMatchObject({ param: "on_disconnect" });
    for (const policy of ["cancel", "grace", "continue"]) {
      expect((await read(text, { policy })).policy).toBe(policy);
    }
    expect((await read(text)).policy).toBeUndefined();
  });

  // Depth is what costs parsers most: it is refused before anything is parsed.
  const nested = (depth: number): string => `${"[".repeat(depth)}${"]".repeat(depth)}`;

  it.each([2000, 200_000])("nests %i levels deep", async (depth) => {
    const fault = await refusal(read(`{"model":"m","messages":[],"x":${nested(depth)}}`));
    expect(fault).toMatchObject({ code: "invalid_request", message: "The JSON nests too deeply." });
  });

  it("nests too deeply, and is not even JSON", async () => {
    expect((await refusal(read("[".repeat(1_000_000)))).code).toBe("invalid_request");
  });

  it("is not refused for brackets in its texts, or for many side by side", async () => {
    const text = `{"model":"m","messages":[],"x":"${"[".repeat(5000)}\\"[","y":[${"[],".repeat(5000)}[]]}`;
    expect(Buffer.from((await read(text)).body).toString()).toBe(text);
  });

  it("is taken as it is, with as many levels as anybody writes", async () => {
    const text = `{"model":"m","messages":[],"stream":false,"x":${nested(900)}}`;
    const start = await read(text, { impliesStream: true });
    expect(Buffer.from(start.body).toString()).toBe(text.replace("false", "true"));
    expect(start.fingerprint()).toBe(start.fingerprint());
  });
});

describe("a member's bytes", () => {
  const member = (text: string): string => memberBytes(Buffer.from(text), "request").toString();

  it("are those in the text", () => {
    expect(member(' {"é😀":1, "request" :\n{ "n":1.0 ,"t":"é\\u00e9"} , "z":2}')).toBe(
      '{ "n":1.0 ,"t":"é\\u00e9"}',
    );
    expect(member('{"request":7}')).toBe("7");
  });

  it("are not those of a member further in, nor of a text that looks like one", () => {
    const text =
      '{"a":{"request":{"n":1}},"b":"\\"request\\":{}","request":{"request":{"n":2}},"c":[{"request":3}]}';
    expect(member(text)).toBe('{"request":{"n":2}}');
  });

  it("are those of the last of several, as JSON.parse takes it", () => {
    expect(member('{"request":{"n":1},"request":{"n":2}}')).toBe('{"n":2}');
  });

  it("are found by a name written in escapes", () => {
    expect(member('{"re\\u0071uest":[1]}')).toBe("[1]");
  });

  it("are missed with the member's name", () => {
    const missing = (): unknown => memberBytes(Buffer.from('{"a":{"request":1}}'), "request");
    expect(faultCode(missing)).toBe("invalid_request");
    expect(missing).toThrow("request is missing.");
  });
});
