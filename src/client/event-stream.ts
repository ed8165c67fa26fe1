/** Reads an event stream (WHATWG HTML, section 9.2) from text that comes in any pieces. */

export interface Block {
  /** Of this event or, where it has none, of the last one that had. */
  readonly id: string;
  /** Empty where it has no name. */
  readonly event: string;
  readonly data: string;
}

/** @returns what is to be fed. A last block without its blank line is never told: it may be half of one. */
export function eventStream(
  onBlock: (block: Block) => void,
  onComment: (text: string) => void,
): (text: string) => void {
  let rest = "";
  let isAfterReturn = false;
  let id = "";
  let event = "";
  let data = "";

  function take(line: string): void {
    const [, field, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (line === "") {
      // Each of its lines has its end with it.
      if (data) onBlock({ id, event, data: data.slice(0, -1) });
      event = data = "";
    } else if (field === "") onComment(value);
    else if (field === "data") data += `${value}\n`;
    else if (field === "event") event = value;
    else if (field === "id") id = value;
  }

  return (text) => {
    if (text === "") return;
    // The second half of a line's end whose first half came before is none of its own.
    const [first = "", ...others] = text
      .slice(Number(isAfterReturn && text.startsWith("\n")))
      .split(/\r\n|\n|\r/);
    isAfterReturn = text.endsWith("\r");
    const lines = [rest + first, ...others];
    rest = lines.pop() ?? "";
    lines.forEach(take);
  };
}
