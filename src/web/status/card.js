/** A panel on the page: its title, its current value, its plot, and what each line of the plot says. */
import { Plot, SPAN_S } from "./plot.js";
import { NONE } from "./units.js";

/** @typedef {import("./panels.js").Panel} Panel */
/** @typedef {import("./figures.js").Figures} Figures */

const template = /** @type {HTMLTemplateElement} */ (document.querySelector("#card"));
const key = /** @type {HTMLTemplateElement} */ (document.querySelector("#line"));

/** Written only where it changes. @param {Element} element @param {string} text */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export class Card {
  #panel;
  #plot;
  #parts;
  /** @type {Element[]} */
  #values;
  /** @type {Figures | null} */
  #figures = null;
  #isPointedAt = false;

  /** @param {Panel} panel */
  constructor(panel) {
    this.#panel = panel;
    const fragment = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    /** @param {string} selector @returns {any} */
    const find = (selector) => fragment.querySelector(selector);
    this.#parts = {
      card: find(".card"),
      big: find(".big"),
      note: find(".note"),
      ago: find(".ago"),
      bar: find(".bar"),
      plot: find(".plot"),
    };
    find("h3").textContent = panel.title;
    this.#parts.card.classList.toggle("wide", panel.isWide === true);
    this.#parts.card.classList.toggle("alone", panel.lines.length === 1);
    this.#parts.card.dataset["panel"] = panel.id;
    this.#parts.big.dataset["testid"] = panel.id;
    this.#parts.bar.hidden = panel.limit === undefined;
    this.#values = this.#keys(find(".lines"));
    document.querySelector(`[data-group="${panel.group}"]`)?.append(fragment);
    // Not before it is in the page: it takes the size of its place.
    this.#plot = new Plot(this.#parts.plot, panel, (ago, values) => this.#point(ago, values));
  }

  /** The element, for what the page adds to it. @returns {HTMLElement} */
  get element() {
    return this.#parts.card;
  }

  /**
   * @param {number} at monotonic seconds
   * @param {Figures | null} figures null where none could be had: the plot has a gap, the figures stay
   */
  show(at, figures) {
    const { lines, limit } = this.#panel;
    const of = figures ?? this.#figures;
    this.#plot.add(
      at,
      lines.map((line) => (figures === null ? null : line.of(figures))),
      of === null ? null : (limit?.(of) ?? null),
    );
    if (figures === null) return;
    this.#figures = figures;
    this.#write(figures);
  }

  /** @param {Figures} figures */
  #write(figures) {
    const { title, big, note, isBad, lines, unit } = this.#panel;
    write(this.#parts.big, big(figures));
    write(this.#parts.note, note(figures));
    this.#parts.card.classList.toggle("bad", isBad?.(figures) === true);
    if (!this.#isPointedAt) this.#writeLines(this.#valuesNow(figures));
    this.#fill(figures);
    const said = lines.map((line) => `${line.name} ${unit(line.of(figures))}`).join(", ");
    const [lowest, highest] = this.#plot.extremes;
    const range =
      highest === null ? "nothing yet" : `${lines[0]?.name} from ${unit(lowest)} to ${unit(highest)}`;
    this.#parts.plot.setAttribute("aria-label", `${title}, plot. Now: ${said}. Last minutes: ${range}.`);
  }

  /** How much of the limit is taken. @param {Figures} figures */
  #fill(figures) {
    const { limit, lines } = this.#panel;
    if (limit === undefined) return;
    const share = Math.min(1, (lines[0]?.of(figures) ?? 0) / Math.max(1, limit(figures) ?? 1));
    this.#parts.bar.firstElementChild.style.width = `${share * 100}%`;
    this.#parts.bar.classList.toggle("full", share >= 1);
  }

  /** A line that is alone would repeat the current value: it says how high it was. @param {Figures} figures */
  #valuesNow(figures) {
    const { lines } = this.#panel;
    return lines.length === 1 ? [this.#plot.extremes[1]] : lines.map((line) => line.of(figures));
  }

  /** @param {readonly (number | null)[]} values */
  #writeLines(values) {
    for (const [n, element] of this.#values.entries()) write(element, this.#panel.unit(values[n] ?? null));
  }

  /** While a moment is pointed at, in this plot or another, the lines say what was then. */
  #point(ago, values) {
    this.#isPointedAt = ago !== null;
    this.#parts.card.classList.toggle("pointed", this.#isPointedAt);
    write(this.#parts.ago, ago === null ? "" : `${Math.round(ago)} s ago`);
    if (ago !== null) this.#writeLines(values);
    else if (this.#figures !== null) this.#write(this.#figures);
  }

  /** @param {HTMLElement} list @returns {Element[]} */
  #keys(list) {
    const { lines, id } = this.#panel;
    return lines.map((line, n) => {
      const fragment = /** @type {DocumentFragment} */ (key.content.cloneNode(true));
      const [name, value] = [fragment.querySelector("dt"), fragment.querySelector("dd")];
      if (name === null || value === null) throw new Error("the page has no template of a line");
      name.textContent = lines.length === 1 ? `highest in ${SPAN_S / 60} min` : line.name;
      name.className = `line-${line.colour}`;
      value.textContent = NONE;
      value.dataset["testid"] = `${id}-${n}`;
      list.append(fragment);
      return value;
    });
  }
}
