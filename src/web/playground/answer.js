/** An answer in the conversation: one reader of its generation, or two side by side, and what can be done with it. */
import { copyFrom } from "./clipboard.js";
import { Column } from "./column.js";
import { COMMANDS } from "./commands.js";
import { button, element, enable, isEnabled, part, write } from "./dom.js";
import { LABELS } from "./figures.js";
import { Reading } from "./reading.js";
import { isBroken, isOver, newRecord } from "./record.js";

/** @typedef {import("./record.js").Answer} Record */

/**
 * What an answer asks of the page.
 * @typedef {object} House
 * @property {() => import("../client/types.ts").Client} client
 * @property {() => import("./record.js").Wanted} transport the one that is chosen now
 * @property {() => {url: string, needsKey: boolean}} gateway
 * @property {() => string | undefined} defaultModel
 * @property {(answer: AnswerView) => void} onChange
 * @property {(answer: AnswerView) => void} onLocked
 * @property {(answer: AnswerView) => void} again
 */

const OTHER = { sse: "websocket", websocket: "sse" };

export class AnswerView {
  element;
  reading;
  #house;
  #column;
  /** The second reader, where there is one. @type {Column | undefined} */
  #beside;
  #columns;
  #actions;
  #id = part("code", "generation");

  /** @param {Record} record @param {House} house */
  constructor(record, house) {
    this.#house = house;
    this.reading = new Reading(record);
    this.reading.onLocked = () => house.onLocked(this);
    this.#column = new Column(this.reading, () => this.#changed());
    this.#columns = element("div", { class: "columns" }, this.#column.element);
    this.#actions = makeActions(record.request !== undefined);
    const foot = element("div", { class: "foot" }, ...Object.values(this.#actions), this.#id);
    const name = element("h2", { class: "unseen" }, "Answer");
    this.element = element("li", { class: "answer", "data-testid": "answer" }, name, this.#columns, foot);
    foot.addEventListener("click", (event) => this.#pressed(event.target));
    this.#paint();
  }

  get record() {
    return this.reading.record;
  }

  /** Starts it or goes on; nothing where it is over. */
  follow() {
    return this.reading.follow(this.#house.client());
  }

  stop() {
    this.reading.stop();
  }

  /** Nobody wants it: it is stopped, and what still comes of it is not shown. */
  drop() {
    this.reading.onChange = () => {};
    if (this.reading.isLive) this.stop();
    else this.leave();
    this.#beside?.reading.leave();
  }

  /** Its element is to go: what still comes is nobody's any more. */
  leave() {
    for (const column of [this.#column, this.#beside]) column?.reading.leave();
  }

  #changed() {
    this.#paint();
    this.#house.onChange(this);
  }

  #paint() {
    const { record } = this;
    const { stop, cut, beside, share, text, again, copy } = this.#actions;
    const isLive = this.reading.isLive;
    stop.hidden = cut.hidden = !isLive;
    enable(stop, record.status !== "stopping");
    enable(cut, record.transport !== "");
    beside.hidden = share.hidden = record.generation === "";
    write(beside, `${this.#beside ? "Without" : "Also over"} ${LABELS[this.#besideTransport()]}`);
    text.hidden = record.text === "";
    again.hidden = !isBroken(record) || record.request === undefined;
    if (copy !== undefined) copy.hidden = record.status === "connecting";
    write(this.#id, record.generation);
    this.#id.title = record.generation;
    if (isOver(record)) this.element.removeAttribute("aria-busy");
    else this.element.setAttribute("aria-busy", "true");
  }

  #pressed(target) {
    const pressed = target.closest("button");
    if (pressed === null || !isEnabled(pressed)) return;
    const { act, language } = pressed.dataset;
    if (act === "stop") this.stop();
    else if (act === "cut") this.reading.cut(this.#house.transport());
    else if (act === "beside") this.#toggleBeside();
    else if (act === "share") void copyFrom(pressed, this.link);
    else if (act === "copy-text") void copyFrom(pressed, this.record.text);
    else if (act === "again") this.#house.again(this);
    else if (language !== undefined) void copyFrom(pressed, this.#command(language));
  }

  /** Where another tab follows the same generation. */
  get link() {
    return new URL(`#${this.record.generation}`, location.href).href;
  }

  #command(language) {
    const { request = {} } = this.record;
    const model = "model" in request ? {} : { model: this.#house.defaultModel() };
    return COMMANDS[language]({ ...model, ...request }, this.#house.gateway());
  }

  /** That of the second reader: the other one. */
  #besideTransport() {
    return this.#beside?.reading.record.asked ?? OTHER[this.record.transport] ?? "sse";
  }

  /** A second reader of the same generation, from its first event, over the other transport. */
  #toggleBeside() {
    if (this.#beside !== undefined) {
      this.#beside.reading.leave();
      this.#beside.element.remove();
      this.#beside = undefined;
    } else {
      const record = newRecord({ asked: this.#besideTransport(), generation: this.record.generation });
      const reading = new Reading(record);
      this.#beside = new Column(reading, () => {});
      for (const column of [this.#column, this.#beside]) column.nameIt();
      this.#columns.append(this.#beside.element);
      void reading.follow(this.#house.client());
    }
    this.element.classList.toggle("double", this.#beside !== undefined);
    this.#paint();
  }
}

function makeActions(hasRequest) {
  const copy = element(
    "div",
    { class: "copy", role: "group", "aria-label": "Copy the request as" },
    element("span", { "aria-hidden": "true" }, "Copy as"),
    ...Object.keys(COMMANDS).map((language) =>
      button(`copy-${language.toLowerCase()}`, language, { class: "quiet", "data-language": language }),
    ),
  );
  return {
    stop: button("stop", "Stop", { "data-testid": "stop-here" }),
    cut: button("cut", "Cut the line", {
      title: "Drops the connection, and resumes over the transport that is chosen",
    }),
    again: button("again", "Ask again"),
    beside: button("beside", "", { class: "quiet", title: "A second reader of the same generation" }),
    share: button("share", "Share link", {
      class: "quiet",
      title: "Another tab follows the same generation",
    }),
    text: button("copy-text", "Copy text", { class: "quiet" }),
    ...(hasRequest ? { copy } : {}),
  };
}
