import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Likeness } from "../../src/dialect/likeness.ts";

const chunk = (content: string, more = ""): string =>
  `{"id":"c1","choices":[{"index":0,"delta":{"content":${JSON.stringify(content)}},"finish_reason":null}]${more}}`;

function learned(text: string, content: string): Likeness {
  const likeness = new Likeness();
  const bytes = Buffer.from(text);
  likeness.learn(bytes, 0, bytes.length, content);
  return likeness;
}

function matches(likeness: Likeness, payload: string | Buffer): boolean {
  // Somewhere within a larger read, as events come.
  const bytes = Buffer.concat([Buffer.from('x"'), Buffer.from(payload), Buffer.from('"y')]);
  return likeness.matches(bytes, 2, bytes.length - 2);
}

describe("an event like the one before", () => {
  const likeness = learned(chunk("Hello"), "Hello");

  it.each([" world", "é", "日本語", "😀", "a".repeat(5000), ","])("with the text %j is known", (text) => {
    expect(matches(likeness, chunk(text))).toBe(true);
  });

  it.each([
    ["an empty text", chunk("")],
    ["an escape", chunk("\n")],
    ["an escaped quote", chunk('"')],
    ["another id", chunk("a").replace("c1", "c2")],
    ["a finish reason", chunk("a").replace("null", '"stop"')],
    ["something after it", chunk("a", ',"usage":{"total_tokens":1}')],
    ["a control character", chunk("a\u007f").replace("\u007f", "\u0001")],
    ["a quote that ends the text early", chunk("a").replace('"a"', '"a","b":"c"')],
    ["an error", '{"error":{"message":"no"}}'],
    ["less than the model has", chunk("a").slice(1)],
    ["nothing", ""],
  ])("with %s is read anew", (_what, payload) => {
    expect(matches(likeness, payload)).toBe(false);
  });

  it("with bytes that are not UTF-8 is read anew", () => {
    const bad = Buffer.from(chunk("ab"));
    bad[bad.indexOf("ab")] = 0xc3;
    expect(matches(likeness, bad)).toBe(false);
  });

  it("whatever the text is: known means whole JSON that says just that text", () => {
    const anything = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.string(),
      fc.constantFrom('"', "\\", "\\u0041", '","x":"'),
    );
    fc.assert(
      fc.property(anything, (text) => {
        const payload = chunk("§").replace("§", () => text);
        if (!matches(likeness, payload)) return;
        const read = JSON.parse(payload) as { choices: { delta: { content: string } }[] };
        expect(payload).toBe(chunk(text));
        expect(read.choices[0]?.delta.content).toBe(text);
        expect(text).not.toBe("");
      }),
      { numRuns: 5000 },
    );
  });
});

describe("what is no model", () => {
  it.each([
    ["the member named twice", chunk("a", ',"content":"b"'), "a"],
    ["an escape in the text", chunk("a\nb"), "a\nb"],
    ["another text than was read", chunk("a"), "b"],
    ["white space after the name", chunk("a").replace('"content":', '"content": '), "a"],
  ])("%s", (_what, payload, content) => {
    const likeness = learned(payload, content);
    expect(matches(likeness, payload)).toBe(false);
    expect(matches(likeness, chunk("c"))).toBe(false);
  });

  it("nothing is known before anything was learned", () => {
    expect(matches(new Likeness(), chunk("a"))).toBe(false);
  });
});

it("a stream that never repeats itself is not learned from for ever", () => {
  const likeness = new Likeness();
  for (let n = 0; n < 20; n++) {
    const bytes = Buffer.from(chunk("a").replace("c1", `id${n}`));
    likeness.learn(bytes, 0, bytes.length, "a");
  }
  expect(matches(likeness, chunk("b").replace("c1", "id19"))).toBe(false);
  expect(matches(likeness, chunk("b").replace("c1", "id16"))).toBe(true);
});
