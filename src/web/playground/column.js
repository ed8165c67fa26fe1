/** One reader's view of an answer: its text as it comes, and what is to be said of it. */
import { element, part, write } from "./dom.js";
import { figuresOf, kindOf, LABELS, markInWords, statusOf } from "./figures.js";
import { Prose } from "./prose.js";
import { isOver } from "./record.js";
import { Trace } from "./trace.js";

/** @typedef {import("./reading.js").Reading} Reading */

export class Column {
  element;
  reading;
  #parts;
  #prose;
  #trace = new Trace();
  #frame = 0;
  /** Whether the reader of the page opened or closed the reasoning. */
  #wasToggled = false;

  /** @param {Reading} reading @param {(column: Column) => void} onChange after each change of the record, once a frame */
  constructor(reading, onChange) {
    this.reading = reading;
    this.#parts = makeParts();
    const { reasoning, thought, output, tools, error, marks, figures, status, label } = this.#parts;
    this.#prose = new Prose(output);
    const facts = element("div", { class: "facts" }, status, figures, this.#trace.element);
    this.element = element("div", { class: "column" }, label, thought, output, tools, error, marks, facts);
    thought.querySelector("summary").addEventListener("click", () => (this.#wasToggled = true));
    reasoning.textContent = "";
    reading.onChange = () => {
      this.#frame ||= requestAnimationFrame(() => {
        this.#frame = 0;
        this.paint();
        onChange(this);
      });
    };
    this.paint();
  }

  /** Shows over which transport it is read: there are two columns. */
  nameIt() {
    this.#parts.label.hidden = false;
  }

  paint() {
    const { record } = this.reading;
    const { label, output, error, marks, status } = this.#parts;
    this.element.dataset.state = kindOf(record);
    write(status, statusOf(record));
    output.dataset.wait = waitOf(record);
    write(label, LABELS[record.transport] ?? "connecting");
    this.#paintThought(record);
    const seams = record.marks
      .filter(({ offset = 0 }) => offset > 0)
      .map((mark) => ({ offset: mark.offset ?? 0, label: markInWords(mark) }));
    this.#prose.update(record.text, seams, isOver(record));
    output.hidden =
      record.text === "" && (isOver(record) || record.reasoning !== "" || record.tools.length > 0);
    this.#paintTools(record.tools);
    writeList(marks, record.marks.map(markInWords));
    error.hidden = record.error === null || record.status === "cancelled";
    if (record.error)
      error.replaceChildren(element("code", {}, record.error.code), ` ${record.error.message}`);
    this.#paintFigures(record);
  }

  #paintThought({ reasoning, text }) {
    const { thought, reasoning: block } = this.#parts;
    thought.hidden = reasoning === "";
    // Only what is new: a long reasoning is not laid out again for each word.
    const shown = block.textContent.length;
    if (reasoning.length > shown) block.append(reasoning.slice(shown));
    if (!this.#wasToggled) thought.open = text === "";
  }

  #paintTools(tools) {
    const { tools: list } = this.#parts;
    list.hidden = tools.length === 0;
    for (const [index, { name, args }] of tools.entries()) {
      const item = list.children[index] ?? list.appendChild(toolCall());
      write(item.querySelector("code"), name || "unnamed");
      write(item.querySelector("pre"), args);
    }
  }

  #paintFigures(record) {
    const { figures } = this.#parts;
    for (const { name, label, hint, text } of figuresOf(record)) {
      let value = figures.querySelector(`[data-testid="${name}"]`);
      if (value === null) {
        value = part("dd", name);
        figures.append(element("div", {}, element("dt", {}, element("abbr", {}, label)), value));
      }
      const term = value.parentElement.querySelector("abbr");
      write(term, label);
      if (term.title !== hint) term.title = hint;
      write(value, text);
    }
    this.#trace.draw(record);
  }
}

function makeParts() {
  const reasoning = part("div", "reasoning", { class: "reasoning" });
  return {
    label: part("p", "reader", { class: "reader", hidden: true }),
    reasoning,
    thought: element(
      "details",
      { class: "thought", hidden: true },
      element("summary", {}, "Reasoning"),
      reasoning,
    ),
    output: part("div", "output", { class: "prose" }),
    tools: part("ul", "tools", { class: "tools", hidden: true, "aria-label": "Tool calls" }),
    error: part("p", "error", { class: "error", hidden: true }),
    marks: part("ul", "marks", { class: "marks", "aria-label": "Interruptions" }),
    status: part("p", "status", { class: "status" }),
    figures: element("dl", { class: "figures" }),
  };
}

const toolCall = () =>
  element(
    "li",
    {},
    element("span", {}, "Calls "),
    element("code"),
    element("pre", { tabindex: "0", role: "group", "aria-label": "Arguments" }),
  );

function writeList(list, lines) {
  list.hidden = lines.length === 0;
  for (const [index, line] of lines.entries())
    write(list.children[index] ?? list.appendChild(element("li")), line);
}

/** What stands where the text will be. */
function waitOf({ position }) {
  if (position === 0) return "…";
  return position === 1 ? "Next in the queue" : `In the queue, ${position - 1} before it`;
}
