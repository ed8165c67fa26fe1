/** The table of outcomes: how many requests ended in each, lately and since the start. */
import { OUTCOMES } from "./figures.js";
import { count } from "./units.js";

/** @typedef {import("./figures.js").Figures} Figures */

/** The lines of the plot beside it, whose colours the rows take. */
const COLOURS = { served: "a", left: "c", refused: "b", failed: "bad", invalid: "d" };
const ORDER = Object.entries(OUTCOMES).flatMap(([group, outcomes]) =>
  outcomes.map((outcome) => ({ outcome, group })),
);

export class OutcomeTable {
  #body;
  /** The rows that there are, by outcome. @type {Map<string, HTMLTableRowElement>} */
  #rows = new Map();

  /** @param {HTMLElement} place */
  constructor(place) {
    const template = /** @type {HTMLTemplateElement} */ (document.querySelector("#outcome-table"));
    const fragment = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    this.#body = /** @type {HTMLTableSectionElement} */ (fragment.querySelector("tbody"));
    place.append(fragment);
  }

  /** Outcomes that never happened are left out, but for the first one. @param {Figures} figures */
  show({ outcomes }) {
    const totals = new Map(outcomes.map((each) => [each.outcome, each]));
    const known = new Set(ORDER.map(({ outcome }) => outcome));
    const others = outcomes
      .filter(({ outcome }) => !known.has(outcome))
      .map(({ outcome }) => ({ outcome, group: "invalid" }));
    for (const { outcome, group } of [...ORDER, ...others]) {
      const { total, lately } = totals.get(outcome) ?? { total: 0, lately: 0 };
      const row = this.#rows.get(outcome) ?? this.#add(outcome, group);
      row.hidden = total === 0 && outcome !== "completed";
      for (const [n, value] of [lately, total].entries()) {
        const cell = /** @type {HTMLTableCellElement} */ (row.cells[n + 1]);
        const text = count(value);
        if (cell.textContent !== text) cell.textContent = text;
      }
    }
  }

  /** @param {string} outcome @param {string} group */
  #add(outcome, group) {
    const row = this.#body.insertRow();
    const name = document.createElement("th");
    name.scope = "row";
    name.textContent = outcome.replaceAll("_", " ");
    name.className = `line-${COLOURS[group]}`;
    row.append(name);
    for (const column of ["lately", "total"]) row.insertCell().dataset["testid"] = `${outcome}-${column}`;
    this.#rows.set(outcome, row);
    return row;
  }
}
