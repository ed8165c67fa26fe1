/** Reads an event stream (WHATWG HTML, section 9.2) from text that comes in any pieces. */

export interface Block {
  /** Of this event or, where it has none, of the last one that had. */
  readonly id: string;
  /** Empty where it has no name. */
  readonly event: string;
  readonly data: string;
}

const LINE_END = /\r\n|\n|\r/;

export class EventStream {
  readonly #onBlock: (block: Block) => void;
  readonly #onComment: (text: string) => void;
  #rest = "";
  #isAfterReturn = false;
  #id = "";
  #event = "";
  #data: string[] = [];

  constructor(onBlock: (block: Block) => void, onComment: (text: string) => void) {
    this.#onBlock = onBlock;
    this.#onComment = onComment;
  }

  /** A last block without its blank line is never told: it may be half of one. */
  feed(text: string): void {
    // The second half of a line's end whose first half came before.
    const more = this.#isAfterReturn && text.startsWith("\n") ? text.slice(1) : text;
    if (text !== "") this.#isAfterReturn = text.endsWith("\r");
    const [first = "", ...others] = more.split(LINE_END);
    const lines = [this.#rest + first, ...others];
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#take(line);
  }

  #take(line: string): void {
    if (line === "") {
      const [id, event, data] = [this.#id, this.#event, this.#data];
      this.#event = "";
      this.#data = [];
      if (data.length > 0) this.#onBlock({ id, event, data: data.join("\n") });
      return;
    }
    const [, field, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (field === "") this.#onComment(value);
    else if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    else if (field === "id") this.#id = value;
  }
}
