import { describe, expect, it } from "vitest";
import { Fault } from "../../src/core/errors.ts";
import { type AttemptEnd, type Call, CONTENT, type Intake, MULTILINE } from "../../src/core/ports.ts";
import { chat } from "../../src/dialect/chat.ts";

interface Entry {
  readonly text: string;
  readonly flags: number;
}

/** A translator and what it appends. */
class Answer {
  readonly entries: Entry[] = [];
  readonly #intake = {
    append: (bytes: Uint8Array, start: number, end: number, flags: number) =>
      this.entries.push({ text: Buffer.from(bytes.subarray(start, end)).toString(), flags }),
  } as unknown as Intake;
  readonly #translator;

  constructor(call: Partial<Call> = {}) {
    this.#translator = chat.translator({
      endpoint: "/v1/chat/completions",
      model: "m",
      body: Buffer.from("{}"),
      stream: true,
      choices: 1,
      withholdUsage: false,
      firstContentBy: 0,
      ...call,
    });
  }

  /** One frame, in the middle of a larger buffer, as the splitter hands it over. */
  frame(payload: string | object | Buffer, isMultiline = false): AttemptEnd | undefined {
    const bytes = Buffer.isBuffer(payload)
      ? payload
      : Buffer.from(typeof payload === "string" ? payload : JSON.stringify(payload));
    const around = Buffer.concat([Buffer.from("data: "), bytes, Buffer.from("\n\n{")]);
    return this.#translator.frame(around, 6, 6 + bytes.length, isMultiline, this.#intake);
  }

  body(payload: string | object | Buffer): AttemptEnd {
    const text = typeof payload === "string" ? payload : JSON.stringify(payload);
    return this.#translator.body(Buffer.isBuffer(payload) ? payload : Buffer.from(text), this.#intake);
  }

  stopped(): AttemptEnd {
    return this.#translator.stopped(new Fault("upstream_stalled"));
  }

  isWhole(text: string | Buffer): boolean {
    return this.#translator.isWhole(Buffer.from(text));
  }
}

const choice = (delta: object, more: object = {}) => ({ choices: [{ index: 0, delta, ...more }] });
const finish = (reason: unknown, index = 0) => ({ choices: [{ index, delta: {}, finish_reason: reason }] });

/** The flags of the one entry that the payload becomes. */
function flagsOf(payload: string | object): number | undefined {
  const answer = new Answer();
  expect(answer.frame(payload)).toBeUndefined();
  expect(answer.entries).toHaveLength(1);
  return answer.entries[0]?.flags;
}

describe("content", () => {
  it.each([
    ["content", choice({ content: "Hi" })],
    ["content of white space", choice({ content: " " })],
    ["content in parts", choice({ content: [{ type: "text", text: "Hi" }] })],
    ["reasoning", choice({ reasoning: "Hm" })],
    ["reasoning_content", choice({ content: null, reasoning_content: "Hm" })],
    ["refusal", choice({ refusal: "No" })],
    ["tool_calls", choice({ tool_calls: [{ index: 0, function: { name: "f", arguments: "" } }] })],
    ["function_call", choice({ function_call: { name: "f" } })],
    ["audio", choice({ audio: { data: "AAAA" } })],
    ["text of completions", { choices: [{ index: 0, text: "Hi", finish_reason: null }] }],
    [
      "a second choice",
      {
        choices: [
          { index: 0, delta: {} },
          { index: 1, delta: { content: "Hi" } },
        ],
      },
    ],
    ["content with a finish", choice({ content: "Hi" }, { finish_reason: "stop" })],
    ["a choice without an index", { choices: [{ delta: { content: "Hi" } }] }],
  ])("is %s", (_name, payload) => {
    expect(flagsOf(payload)).toBe(CONTENT);
  });

  it.each([
    ["a role", choice({ role: "assistant", content: "" })],
    ["nulls", choice({ content: null, refusal: null, tool_calls: null, audio: null })],
    ["empty lists and objects", choice({ content: [], tool_calls: [], function_call: {}, audio: {} })],
    ["an empty reasoning", choice({ reasoning: "", reasoning_content: "" })],
    ["an empty delta", choice({})],
    ["no delta", { choices: [{ index: 0 }] }],
    ["an empty text", { choices: [{ index: 0, text: "" }] }],
    ["no choices", { choices: [] }],
    ["choices of no use", { choices: [null, "x", 1] }],
    ["choices that are no list", { choices: { index: 0 } }],
    ["a message of no delta", { choices: [{ index: 0, message: { content: "Hi" } }] }],
    ["an object of another kind", { object: "ping" }],
    ["a number", "1"],
    ["null", "null"],
    ["a list", "[]"],
    ["an error that is none", { error: null, choices: [] }],
  ])("is not %s, which still is an event", (_name, payload) => {
    expect(flagsOf(payload)).toBe(0);
  });

  it("passes byte for byte, with a note of several lines", () => {
    const answer = new Answer();
    const text = '{ "choices" :[{"delta":{"content":"\\u00e9\\/😀"}}],\n"n":1.0, "n":1e3 }';
    answer.frame(text, true);
    expect(answer.entries).toEqual([{ text, flags: CONTENT | MULTILINE }]);
  });
});

describe("a payload that is no JSON in UTF-8", () => {
  it.each([
    ["broken", '{"choices":['],
    ["words", "hello"],
    ["not UTF-8", Buffer.from([0x22, 0xff, 0x22])],
    ["a cut character", Buffer.from('{"a":"é"}').subarray(0, 7)],
    ["a broken [DONE]", "[DONE"],
    ["two values", "{}{}"],
  ])("ends it as failed, and is no event: %s", (_name, payload) => {
    const answer = new Answer();
    expect(answer.frame(payload)).toMatchObject({ status: "failed", fault: { code: "upstream_error" } });
    expect(answer.entries).toEqual([]);
  });

  it("says of an open block whether it is whole", () => {
    const answer = new Answer();
    expect(["{}", "null", "[DONE]", " [DONE] "].map((text) => answer.isWhole(text))).toEqual(
      Array(4).fill(true),
    );
    const broken = ["{", "[DONE", "", Buffer.from([0x22, 0xff, 0x22])];
    expect(broken.map((text) => answer.isWhole(text))).toEqual(Array(4).fill(false));
  });
});

describe("[DONE]", () => {
  it.each(["[DONE]", " [DONE]", "[DONE]\t", "\n[DONE] "])("ends well, and is no event: %j", (text) => {
    const answer = new Answer();
    expect(answer.frame(text)).toEqual({ status: "completed" });
    expect(answer.entries).toEqual([]);
  });

  it("ends well even without a finish reason, and as incomplete after a cut", () => {
    const answer = new Answer({ choices: 4 });
    answer.frame(choice({ content: "Hi" }));
    answer.frame(finish("length"));
    answer.frame(choice({ content: "Ho" }, { index: 1 }));
    expect(answer.frame("[DONE]")).toEqual({ status: "incomplete", finishReasons: ["length"] });
  });
});

describe("a finish reason", () => {
  it.each([
    ["stop", "completed"],
    ["tool_calls", "completed"],
    ["eos", "completed"],
    ["a word of tomorrow", "completed"],
    ["length", "incomplete"],
    ["content_filter", "incomplete"],
  ])("%s ends a stream that stops as %s", (reason, status) => {
    const answer = new Answer();
    answer.frame(choice({ content: "Hi" }));
    answer.frame(finish(reason));
    expect(answer.stopped()).toEqual({ status, finishReasons: [reason] });
  });

  it.each([[null], [""], [undefined], [0], [{}]])("is not %j", (reason) => {
    const answer = new Answer();
    answer.frame(finish(reason));
    expect(answer.stopped()).toMatchObject({ status: "failed", fault: { code: "upstream_stalled" } });
  });

  it("of one choice truncates all", () => {
    const answer = new Answer({ choices: 2 });
    answer.frame(finish("length", 0));
    answer.frame(finish("stop", 1));
    expect(answer.stopped().status).toBe("incomplete");
  });

  // Rule 4: at least min(n asked for, or 1; choices seen), and at least one.
  it.each([
    { asked: 1, seen: [], finished: [], isWell: false },
    { asked: 1, seen: [0], finished: [], isWell: false },
    { asked: 1, seen: [0], finished: [0], isWell: true },
    { asked: 1, seen: [0, 1], finished: [1], isWell: true },
    { asked: 2, seen: [0, 1], finished: [1], isWell: false },
    { asked: 2, seen: [0, 1], finished: [1, 1], isWell: false },
    { asked: 2, seen: [0, 1], finished: [1, 0], isWell: true },
    { asked: 2, seen: [0], finished: [0], isWell: true },
    { asked: 5, seen: [0, 1, 2], finished: [0, 1], isWell: false },
    { asked: 5, seen: [0, 1, 2], finished: [0, 1, 2], isWell: true },
    { asked: 0, seen: [0], finished: [], isWell: false },
    { asked: 0, seen: [0], finished: [0], isWell: true },
  ])(
    "counts by choice: $asked asked, $seen seen, $finished finished",
    ({ asked, seen, finished, isWell }) => {
      const answer = new Answer({ choices: asked });
      for (const index of seen) answer.frame({ choices: [{ index, delta: { content: "Hi" } }] });
      for (const index of finished) answer.frame(finish("stop", index));
      expect(answer.stopped().status).toBe(isWell ? "completed" : "failed");
    },
  );
});

const usage = (n: number) => ({ prompt_tokens: n, completion_tokens: n + 1 });

it("a stream that breaks off tells which choices were cut off", () => {
  const answer = new Answer({ choices: 2 });
  answer.frame(choice({ content: "Hi" }));
  answer.frame(choice({ content: "Ho" }, { index: 1 }));
  answer.frame(finish("stop", 1));
  expect(answer.stopped()).toMatchObject({ status: "failed", finishReasons: ["error", "stop"] });
});

describe("usage", () => {
  it.each([
    ["with the last chunk", [{ ...finish("stop"), usage: usage(1) }]],
    ["in a chunk of its own", [finish("stop"), { choices: [], usage: usage(1) }]],
    ["under x_groq", [{ ...finish("stop"), x_groq: { usage: usage(1) } }]],
    [
      "with every chunk, the last one counting",
      [
        { choices: [], usage: usage(9) },
        { choices: [], usage: usage(1) },
      ],
    ],
    [
      "before a null",
      [
        { choices: [], usage: usage(1) },
        { choices: [], usage: null },
      ],
    ],
    ["beside a null, under x_groq", [{ choices: [], usage: null, x_groq: { usage: usage(1) } }]],
  ])("is read %s", (_name, chunks) => {
    const answer = new Answer();
    for (const chunk of chunks) answer.frame(chunk);
    expect(answer.frame("[DONE]")).toEqual({
      status: "completed",
      usage: usage(1),
      tokens: { input: 1, output: 2 },
      ...(JSON.stringify(chunks).includes('"stop"') ? { finishReasons: ["stop"] } : {}),
    });
    expect(answer.entries).toHaveLength(chunks.length);
  });

  it("is not what is no object, and counts only what is a count", () => {
    const answer = new Answer();
    answer.frame({ choices: [], usage: 7 });
    expect(answer.frame("[DONE]")).toEqual({ status: "completed" });
    const odd = { prompt_tokens: "9", completion_tokens: -1, prompt_tokens_details: { cached_tokens: 3 } };
    answer.frame({ choices: [], usage: { ...odd, completion_tokens_details: { reasoning_tokens: 0 } } });
    expect(answer.stopped().tokens).toEqual({ cached: 3, reasoning: 0 });
  });

  it("comes with a failure too", () => {
    const answer = new Answer();
    answer.frame({ choices: [], usage: usage(1) });
    expect(answer.stopped()).toMatchObject({ status: "failed", usage: usage(1) });
  });

  it("is withheld where only the gateway asked for it: that chunk and no other", () => {
    const answer = new Answer({ withholdUsage: true });
    answer.frame({ ...choice({ content: "Hi" }), usage: usage(1) });
    answer.frame({ choices: [], usage: null });
    answer.frame({ choices: [], usage: usage(2) });
    expect(answer.entries).toHaveLength(2);
    expect(answer.frame("[DONE]")?.usage).toEqual(usage(2));
  });
});
