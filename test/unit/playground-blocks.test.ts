import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Blocks } from "../../src/web/playground/blocks.js";
import { SEAM, withSeams } from "../../src/web/playground/seams.js";
import { LESSON } from "../support/playground-upstream.ts";

/** The HTML that a page holds in the end, of a text that came in such pieces. */
function htmlOf(pieces: readonly string[], offsets: readonly number[] = []): string {
  const blocks = new Blocks();
  let text = "";
  let html = "";
  for (const piece of pieces) {
    text += piece;
    html += blocks.take(
      text,
      offsets.filter((offset) => offset < text.length),
      false,
    ).settled;
  }
  return html + blocks.take(text, offsets, true).settled;
}

const block = fc.constantFrom(
  ...["# Title", "## Sub\n", "plain words here", "- item\n- item two", "1. one\n2. two", "> quoted words"],
  ...[
    "```js\nconst a = 1;\n\nb();\n```",
    "    indented",
    "| a | b |\n| - | - |\n| 1 | 2 |",
    "---",
    "*em* and **strong**",
  ],
  ...[
    "<b>html</b>",
    "a line\r\nand another",
    "Setext\n===",
    "- [ ] todo\n- [x] done",
    "`code` <br> end",
    SEAM,
  ],
);
const document = fc.array(block, { maxLength: 8 }).map((blocks) => blocks.join("\n\n"));
const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 });

const piecesOf = (text: string, shares: readonly number[]): string[] => {
  const places = [0, ...shares.map((share) => Math.floor(share * text.length)), text.length].sort(
    (a, b) => a - b,
  );
  return places.slice(1).map((place, index) => text.slice(places[index], place));
};

describe("Markdown that grows", () => {
  it("is in the end what it is as a whole, whatever pieces it came in", () => {
    fc.assert(
      fc.property(document, cuts, (text, shares) => {
        expect(htmlOf(piecesOf(text, shares))).toBe(htmlOf([text]));
      }),
    );
    expect(htmlOf([...LESSON])).toBe(htmlOf([LESSON]));
  });

  it("settles what nothing can change any more, and tells that once", () => {
    const blocks = new Blocks();
    const first = blocks.take("one\n\ntwo\n\nthree\n\nfou", [], false);
    expect(first.settled).toBe("<p>one</p>\n<p>two</p>\n");
    expect(first.open).toBe("<p>three</p>\n<p>fou</p>\n");
    expect(blocks.take("one\n\ntwo\n\nthree\n\nfour", [], true).settled).toBe("<p>three</p>\n<p>four</p>\n");
  });

  it("leaves out no level of headings, and has them below the answer's own", () => {
    const levels = (text: string): string[] =>
      [...htmlOf([text]).matchAll(/<h(\d)/g)].map(([, level = ""]) => level);
    expect(levels("#### deep\n\n# top\n\n### two more\n\n###### lowest")).toEqual(["3", "3", "4", "5"]);
  });

  it("shows HTML as it was written, but for tags that only shape words", () => {
    expect(htmlOf(["<b>x</b> a<br>b H<sub>2</sub>O"])).toBe(
      "<p>&lt;b&gt;x&lt;/b&gt; a<br>b H<sub>2</sub>O</p>\n",
    );
  });
});

describe("seams", () => {
  it("are set between two words behind the cut, and tear no syntax", () => {
    expect(withSeams("one two three", [5])).toBe(`one two ${SEAM}three`);
    expect(withSeams("- **bold** [a](b) plain words", [3])).toBe(`- **bold** [a](b) plain ${SEAM}words`);
    expect(withSeams("too shor", [4])).toBe("too shor");
    expect(withSeams("a b c d", [1, 2])).toBe(`a ${SEAM}b ${SEAM}c d`);
  });

  it("take nothing from the text and add nothing but themselves, in the same places however it came", () => {
    fc.assert(
      fc.property(document, cuts, cuts, (text, shares, places) => {
        const clean = text.replaceAll(SEAM, "");
        const offsets = places.map((share) => Math.floor(share * clean.length)).sort((a, b) => a - b);
        expect(withSeams(clean, offsets).replaceAll(SEAM, "")).toBe(clean);
        const whole = htmlOf([clean], offsets);
        expect(whole.replaceAll(SEAM, "")).toBe(htmlOf([clean]));
        expect(htmlOf(piecesOf(clean, shares), offsets)).toBe(whole);
      }),
    );
  });
});
