import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { asCurl, asPython, pythonLiteral, shellWord } from "../../src/web/playground/commands.js";

const GATEWAY = { url: "http://127.0.0.1:8000", needsKey: false };

describe("a request as a command", () => {
  it("is one word of a shell, whatever is in it", () => {
    // A shell's word holds no NUL.
    const word = fc.string({ unit: "binary" }).map((text) => text.replaceAll("\0", ""));
    const words = fc.sample(word, 200);
    const script = words.map((text) => `printf '%s\\0' ${shellWord(text)}`).join("\n");
    expect(execFileSync("sh", ["-c", script]).toString().split("\0").slice(0, -1)).toEqual(words);
  });

  it("names the key's variable and never a key, and only where one is needed", () => {
    expect(asCurl({}, GATEWAY)).not.toContain("authorization");
    expect(asCurl({}, { ...GATEWAY, needsKey: true })).toContain('"authorization: Bearer $SLUICE_API_KEY"');
  });

  it("spells JSON's words as Python does", () => {
    expect(pythonLiteral([true, false, null, 1.5, 'it\'s "x"', [], {}])).toBe(
      '[\n    True,\n    False,\n    None,\n    1.5,\n    "it\'s \\"x\\"",\n    [],\n    {},\n]',
    );
  });

  it("gives Python's package what it does not know by name beside what it knows", () => {
    const text = asPython({ model: "m", messages: [], seed: 7 }, GATEWAY);
    expect(text).toContain('more = {\n    "seed": 7,\n}');
    expect(text).toContain("stream=True, extra_body=more");
    expect(asPython({ model: "m", messages: [] }, GATEWAY)).not.toContain("extra_body");
  });
});
