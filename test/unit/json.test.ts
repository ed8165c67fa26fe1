import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { memberSpan, nestsTooDeeply } from "../../src/dialect/json.ts";

/** White space that JSON allows between any two of its tokens. */
const blank = fc.string({ unit: fc.constantFrom(" ", "\t", "\n", "\r"), maxLength: 2 });
/** Names and texts that are made to mislead a scanner of bytes. */
const tricky = fc.oneof(
  fc.constantFrom(
    "request",
    "re\\quest",
    '"request":',
    "}",
    "[{",
    "\\",
    '\\"',
    "é😀",
    "",
    "__proto__",
    "\ud800",
  ),
  fc.string({ unit: "binary", maxLength: 5 }),
);
/** One text of a string's many: as JSON.stringify writes it, or with every character escaped. */
function textOf(text: string, isEscaped: boolean): string {
  if (!isEscaped) return JSON.stringify(text);
  const escapes = Array.from({ length: text.length }, (_, at) =>
    text.charCodeAt(at).toString(16).padStart(4, "0"),
  );
  return `"${escapes.map((hex) => `\\u${hex}`).join("")}"`;
}
const stringText = fc.tuple(tricky, fc.boolean()).map(([text, isEscaped]) => textOf(text, isEscaped));
/**
 * A name with a backslash is left out: JSON.parse of V8 14.6 (Node 26.10), once it has seen a member called `\\`, takes an
 * escaped name in the same place of another object for that one, and could not be the judge here.
 */
const nameText = fc
  .tuple(
    tricky.filter((name) => !name.includes("\\")),
    fc.boolean(),
  )
  .map(([name, isEscaped]) => textOf(name, isEscaped));
const scalarText = fc.oneof(
  stringText,
  fc.constantFrom("0", "-0.0", "1e3", "1E-7", "12345678901234567890", "true", "false", "null"),
);

const { value: valueText, object: objectText } = fc.letrec<{ value: string; object: string; list: string }>(
  (tie) => ({
    value: fc.oneof({ depthSize: "small" }, scalarText, tie("object"), tie("list")),
    list: fc
      .tuple(blank, fc.array(fc.tuple(blank, tie("value"), blank), { maxLength: 3 }))
      .map(
        ([inside, values]) =>
          `[${values.length === 0 ? inside : values.map((parts) => parts.join("")).join(",")}]`,
      ),
    object: fc
      .tuple(blank, fc.array(fc.tuple(blank, nameText, blank, blank, tie("value"), blank), { maxLength: 4 }))
      .map(([inside, members]) => {
        const texts = members.map(([a, name, b, c, value, d]) => `${a}${name}${b}:${c}${value}${d}`);
        return `{${texts.length === 0 ? inside : texts.join(",")}}`;
      }),
  }),
);

describe("the place of a member", () => {
  it("holds the value that JSON.parse finds, in any JSON, for every name", () => {
    fc.assert(
      fc.property(blank, objectText, blank, tricky, (before, object, after, other) => {
        // Lone surrogates come as escapes: as bytes there are none in UTF-8.
        const bytes = Buffer.from(before + object + after);
        const values = JSON.parse(bytes.toString()) as Record<string, unknown>;
        for (const name of [...Object.keys(values), other, "request"]) {
          const span = memberSpan(bytes, name);
          expect(span !== undefined, name).toBe(Object.hasOwn(values, name));
          if (span === undefined) continue;
          const text = bytes.toString("utf8", span.start, span.end);
          expect(text.trim()).toBe(text);
          expect(JSON.parse(text)).toEqual(values[name]);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("nesting too deeply", () => {
  const nested = (depth: number): Buffer =>
    Buffer.from(`${'{"a":['.repeat(depth / 2)}1${"]}".repeat(depth / 2)}`);

  it("is more than 1000 levels", () => {
    expect([nestsTooDeeply(nested(1000)), nestsTooDeeply(nested(1002))]).toEqual([false, true]);
  });

  it("is judged within the bounds that are given", () => {
    const around = Buffer.concat([Buffer.from("[".repeat(500)), nested(800), Buffer.from("[".repeat(500))]);
    expect(nestsTooDeeply(around)).toBe(true);
    expect(nestsTooDeeply(around, 500, around.length - 500)).toBe(false);
  });

  it("counts no bracket in a text, however it is written", () => {
    fc.assert(
      fc.property(fc.array(valueText, { maxLength: 5 }), tricky, (values, text) => {
        const brackets = JSON.stringify("[{".repeat(2000) + text);
        expect(nestsTooDeeply(Buffer.from(`[${[...values, brackets].join(",")}]`))).toBe(false);
      }),
    );
  });

  it("does not read past its end in a text that is no JSON", () => {
    for (const broken of ['"', '"\\', `${"[".repeat(1000)}"\\`, "]".repeat(5000)]) {
      expect(nestsTooDeeply(Buffer.from(broken.padEnd(2000)))).toBe(false);
    }
  });
});
