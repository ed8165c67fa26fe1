import { describe, expect, it } from "vitest";
import { type AttemptEnd, type Call, CONTENT, type Intake, MULTILINE } from "../../src/core/ports.ts";
import { chat } from "../../src/dialect/chat.ts";
import { textOf } from "../../src/dialect/text.ts";

const CALL: Call = {
  endpoint: "/v1/chat/completions",
  model: "m",
  body: Buffer.from("{}"),
  stream: true,
  choices: 1,
  withholdUsage: false,
  firstContentBy: 0,
};

interface Translated {
  readonly end: AttemptEnd | undefined;
  readonly flags: readonly number[];
}

function translate(how: "frame" | "body", bytes: Buffer): Translated {
  const flags: number[] = [];
  const intake = {
    append: (_bytes: Uint8Array, _start: number, _end: number, given: number) => flags.push(given),
  } as unknown as Intake;
  const translator = chat.translator(CALL);
  const end =
    how === "body" ? translator.body(bytes, intake) : translator.frame(bytes, 0, bytes.length, false, intake);
  return { end, flags };
}

describe.each(["frame", "body"] as const)("an error in a %s", (how) => {
  it("with a message goes out as it came, and into the ending with its missing members", () => {
    const text = '{ "error" : {"message":"Too much", "code":429, "hint":"later"} }';
    const { end, flags } = translate(how, Buffer.from(text));
    expect(end?.status).toBe("failed");
    expect(end?.fault?.code).toBe("upstream_error");
    expect(end?.fault?.toObject()).toEqual({
      message: "Too much",
      type: "upstream_error",
      param: null,
      code: "429",
      hint: "later",
    });
    expect(Buffer.from(end?.fault?.said?.body ?? []).toString()).toBe(text);
    expect(end?.fault?.said?.status).toBeUndefined();
    expect(flags).toEqual([]);
  });

  it("keeps the members it has", () => {
    const error = { message: "No", type: "server_error", param: "model", code: "overloaded" };
    const { end } = translate(how, Buffer.from(JSON.stringify({ error, id: "x" })));
    expect(end?.fault?.toObject()).toEqual(error);
  });

  it.each([
    ["a string", '"overloaded"', "overloaded"],
    ["a number", "503", "503"],
    ["true", "true", "true"],
    ["an object without a message", '{"code":7}', '{"code":7}'],
    ["a list", "[1]", "[1]"],
    ["an empty object", "{}", "{}"],
    ["a message that is no text", '{"message":1}', '{"message":1}'],
  ])("that is %s is wrapped", (_name, error, message) => {
    const { end } = translate(how, Buffer.from(`{"error":${error}}`));
    expect(end?.fault?.toObject()).toEqual({
      message,
      type: "upstream_error",
      param: null,
      code: "upstream_error",
    });
    expect(end?.fault?.said).toBeUndefined();
  });

  it.each(["null", "false", "0", '""'])("is none where it is %s", (error) => {
    expect(translate(how, Buffer.from(`{"error":${error}}`)).end?.status).not.toBe("failed");
  });

  it("keeps its bytes when the read's buffer is used again", () => {
    const bytes = Buffer.from('{"error":{"message":"a"}}');
    const { end } = translate(how, bytes);
    bytes.fill(0);
    expect(Buffer.from(end?.fault?.said?.body ?? []).toString()).toBe('{"error":{"message":"a"}}');
  });

  it("counts even beside content", () => {
    const chunk = { choices: [{ index: 0, delta: { content: "Hi" } }], error: { message: "cut" } };
    expect(translate(how, Buffer.from(JSON.stringify(chunk)))).toMatchObject({
      end: { status: "failed" },
      flags: [],
    });
  });
});

describe("a body that is not streamed", () => {
  const body = (text: string): Translated => translate("body", Buffer.from(text));
  const answered = (reason: string): string =>
    `{"choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"${reason}"}],"usage":{"prompt_tokens":3}}`;

  it("is one event with content, and ends well with its usage", () => {
    expect(body(answered("stop"))).toEqual({
      end: {
        status: "completed",
        usage: { prompt_tokens: 3 },
        tokens: { input: 3 },
        finishReasons: ["stop"],
      },
      flags: [CONTENT],
    });
  });

  it("is incomplete where it was cut", () => {
    expect(body(answered("length")).end?.status).toBe("incomplete");
  });

  it("counts as content whatever it says", () => {
    expect(body('{"choices":[]}')).toEqual({ end: { status: "completed" }, flags: [CONTENT] });
  });

  it.each(["\n", "\r\n", "\r"])("notes lines that end with %j", (end) => {
    expect(body(`{${end}"choices":[]}`).flags).toEqual([CONTENT | MULTILINE]);
  });

  it.each(["", "[]", '"x"', "null", "<html>", "{", "[DONE]"])(
    "fails where it is no JSON object: %s",
    (text) => {
      expect(body(text)).toMatchObject({
        end: { status: "failed", fault: { code: "upstream_error" } },
        flags: [],
      });
    },
  );

  it("fails where it is not UTF-8", () => {
    const bytes = Buffer.concat([Buffer.from('{"a":"'), Buffer.from([0xc3]), Buffer.from('"}')]);
    expect(translate("body", bytes)).toMatchObject({ end: { status: "failed" }, flags: [] });
  });
});

describe("the text of a chunk", () => {
  it.each([
    ['{"choices":[{"index":0,"delta":{"content":"Hi"}}]}', "Hi"],
    ['{"choices":[{"delta":{"content":"Hi"}}]}', "Hi"],
    ['{"choices":[{"index":0,"message":{"content":"Hi"}}]}', "Hi"],
    ['{"choices":[{"index":1,"delta":{"content":"no"}},{"index":0,"delta":{"content":"Hi"}}]}', "Hi"],
    [
      '{"choices":[{"delta":{"content":[{"type":"text","text":"H"},{"type":"image"},null,{"text":"i"}]}}]}',
      "Hi",
    ],
    ['{"choices":[{"delta":{"content":null,"reasoning":"hm"}}]}', ""],
    ['{"choices":[{"delta":{"content":7}}]}', ""],
    ['{"choices":[]}', ""],
    ["1", ""],
  ])("of %s", (payload, text) => {
    expect(textOf(payload)).toBe(text);
  });
});
