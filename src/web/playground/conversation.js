/** Questions and answers in their order: in the page, and as what is asked next. */
import { AnswerView } from "./answer.js";
import { element, part } from "./dom.js";
import { isOver, newRecord } from "./record.js";

/** @typedef {import("./record.js").Answer} Answer */
/** @typedef {import("./store.js").Question} Question */
/** @typedef {{message: Question | Answer, element: HTMLElement, view?: AnswerView}} Entry */

/** Makes a creation that is repeated, after a reload before its answer, attach to the first one. 128 random bits. */
const newKey = () =>
  Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(36)).join("-");

export class Conversation {
  #list;
  #house;
  /** @type {Entry[]} */
  #entries = [];

  /** @param {HTMLElement} list @param {Omit<import("./answer.js").House, "again">} house */
  constructor(list, house) {
    this.#list = list;
    this.#house = { ...house, again: (view) => this.#askAgain(view) };
  }

  get isEmpty() {
    return this.#entries.length === 0;
  }

  /** The answer that is not over. */
  get running() {
    return this.#answers.find(({ record }) => !isOver(record));
  }

  get #answers() {
    return this.#entries.flatMap(({ view }) => view ?? []);
  }

  /** @param {string} text @param {{system: string, body: object}} asked @param {import("./record.js").Wanted} transport */
  ask(text, { system, body }, transport) {
    this.#addQuestion({ role: "user", text });
    this.#start(system, body, transport);
  }

  /** As it was kept. What was running goes on. @param {readonly (Question | Answer)[]} messages */
  restore(messages) {
    for (const message of messages) {
      if (message.role === "user") this.#addQuestion(message);
      else this.#add(newRecord(this.#withMessages(message)), message);
    }
    this.followAll();
  }

  /** All that are not over, again: there is another key, or the page was loaded anew. */
  followAll() {
    for (const view of this.#answers) void view.follow();
  }

  /** Plain data. What was asked can be told from what came before. */
  kept() {
    return this.#entries.map(({ message, view }) => {
      if (view === undefined) return message;
      const { messages: _, ...request } = view.record.request;
      return { ...view.record, request };
    });
  }

  clear() {
    for (const view of this.#answers) view.drop();
    this.#entries = [];
    this.#list.replaceChildren();
  }

  #start(system, body, transport) {
    const start = { request: body, system, asked: transport, key: newKey() };
    const view = this.#add(newRecord(this.#withMessages(start)));
    void view.follow();
  }

  /** The same once more: what was there of the broken answer goes. */
  #askAgain(view) {
    const at = this.#entries.findIndex((entry) => entry.view === view);
    for (const { element: gone, view: left } of this.#entries.splice(at)) {
      left?.leave();
      gone.remove();
    }
    const { messages: _, ...body } = view.record.request;
    this.#start(view.record.system, body, this.#house.transport());
    this.#house.onChange(/** @type {AnswerView} */ (this.running));
  }

  #withMessages(start) {
    const history = this.#entries.flatMap(({ message, view }) => {
      if (view === undefined) return [{ role: "user", content: message.text }];
      return view.record.text === "" ? [] : [{ role: "assistant", content: view.record.text }];
    });
    const system = start.system ? [{ role: "system", content: start.system }] : [];
    return { ...start, request: { ...start.request, messages: [...system, ...history] } };
  }

  #addQuestion(message) {
    const name = element("h2", { class: "unseen" }, "You");
    const words = element("div", {}, message.text);
    this.#append({ message, element: part("li", "question", { class: "question" }, name, words) });
  }

  /** @param {Answer} record @param {Partial<Answer>} [before] what was kept of it */
  #add(record, before = {}) {
    const { request } = record;
    const view = new AnswerView(Object.assign(record, before, { request }), this.#house);
    this.#append({ message: record, element: view.element, view });
    return view;
  }

  #append(entry) {
    this.#entries.push(entry);
    this.#list.append(entry.element);
  }
}
