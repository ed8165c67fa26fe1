/** An answer's text in the page, as Markdown, while it grows: of a long answer only its end is made anew. */
import { Blocks } from "./blocks.js";
import { dressed } from "./markdown.js";
import { seamsIn } from "./seams.js";

export class Prose {
  #element;
  #blocks = new Blocks();
  /** Labels of the seams that are settled. */
  #sewn = 0;
  /** What may still change. @type {Element[]} */
  #open = [];
  #isOver = false;

  /** @param {HTMLElement} element */
  constructor(element) {
    this.#element = element;
  }

  /**
   * @param {string} text all that has come
   * @param {readonly {offset: number, label: string}[]} seams
   * @param {boolean} isOver
   */
  update(text, seams, isOver) {
    if (this.#isOver) return;
    this.#isOver = isOver;
    const offsets = seams.map(({ offset }) => offset);
    const labels = seams.map(({ label }) => label);
    const { settled, open } = this.#blocks.take(text, offsets, isOver);
    const stay = dressed(settled, labels.slice(this.#sewn));
    this.#sewn += seamsIn(settled);
    this.#replaceOpen([...stay, ...dressed(open, labels.slice(this.#sewn))], stay.length);
  }

  /** What is the same stays: whoever selects or scrolls in it is not disturbed. */
  #replaceOpen(nodes, settled) {
    const same = this.#open.findIndex((node, index) => !nodes[index]?.isEqualNode(node));
    const kept = same < 0 ? this.#open.length : same;
    for (const node of this.#open.slice(kept)) node.remove();
    this.#element.append(...nodes.slice(kept));
    this.#open = [...this.#open.slice(0, kept), ...nodes.slice(kept)].slice(settled);
  }
}
