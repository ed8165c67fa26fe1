/** Markdown that grows: its blocks as HTML, of which those that no further text can change are told once. */
import { Marked } from "./marked.js";
import { SEAM, seamsIn, withSeams } from "./seams.js";

/** HTML that Markdown has no words for and that does nothing. Any other is shown as it was written. */
const PLAIN_TAG = /^<\/?(?:br|kbd|sub|sup)\s*\/?>$/i;
const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
/** The answer's own heading is of level 2. */
const HEADING_ABOVE = 2;
/** So many blocks at the end may still change with what comes. */
const OPEN_BLOCKS = 2;

/** @param {string} text */
const escaped = (text) => text.replace(/[&<>"']/g, (sign) => ENTITIES[sign]);

const marked = new Marked({
  gfm: true,
  renderer: {
    html: ({ text, block }) => {
      const shown = PLAIN_TAG.test(text.trim()) ? text : escaped(text);
      return block ? `<p>${shown.trimEnd()}</p>\n` : shown;
    },
    // A picture is asked of a server: the reader may do that, the page does not.
    image: ({ href, text }) => `<a href="${escaped(href)}">${escaped(text || "picture")}</a>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    code: ({ text, lang = "" }) =>
      `<pre data-lang="${escaped(lang.split(/\s/, 1)[0] ?? "")}"><code>${escaped(text)}</code></pre>`,
  },
});

/** One answer's Markdown. */
export class Blocks {
  /** So many characters are in blocks that were told as settled, with so many seams. */
  #done = 0;
  #seams = 0;
  /** The level of the last settled heading. */
  #level = HEADING_ABOVE;

  /**
   * @param {string} text all that has come, of which what had come before is the beginning
   * @param {readonly number[]} offsets where seams belong, ascending
   * @param {boolean} isOver nothing more will come
   * @returns {{settled: string, open: string}} HTML, which is not safe yet: newly settled blocks, and all that may change
   */
  take(text, offsets, isOver) {
    // Of the same length, since places are counted. A carriage return says nothing that the line feed does not.
    const rest = text.slice(this.#done).replace(/[\r\u2bff]/g, " ");
    const later = offsets.slice(this.#seams).map((offset) => Math.max(0, offset - this.#done));
    const tokens = marked.lexer(withSeams(rest, later));
    const count = isOver ? tokens.length : firstOpen(tokens);
    const settled = tokens.slice(0, count);
    this.#done += settled.reduce((sum, { raw }) => sum + raw.replaceAll(SEAM, "").length, 0);
    this.#seams += settled.reduce((sum, { raw }) => sum + seamsIn(raw), 0);
    this.#level = level(settled, this.#level);
    const open = tokens.slice(count);
    level(open, this.#level);
    return { settled: marked.parser(settled), open: marked.parser(open) };
  }
}

/** @param {readonly {type: string}[]} tokens */
function firstOpen(tokens) {
  const solid = tokens.flatMap(({ type }, index) => (type === "space" ? [] : [index]));
  return solid.at(-OPEN_BLOCKS) ?? 0;
}

/** Gives headings levels of which none is left out, below the answer's own. @returns the last one's */
function level(tokens, last) {
  for (const token of tokens) {
    if (token.type !== "heading") continue;
    last = token.depth = Math.min(token.depth + HEADING_ABOVE, last + 1, 6);
  }
  return last;
}
