/** A reader of event streams to judge the splitter by: the standard's words, over the whole body at once, bytes as latin1. */

export interface SplitEvent {
  /** Bytes as latin1, so that no byte is lost where a character is cut. */
  readonly payload: string;
  readonly isMultiline: boolean;
}

export interface SplitBody {
  readonly events: readonly SplitEvent[];
  /** The event that the end of the body leaves open. */
  readonly open: SplitEvent | undefined;
}

const BOM = "\xef\xbb\xbf";

/** WHATWG HTML, 9.2.5 and 9.2.6; beyond it, blank events are none and the last block is told apart. */
export function splitWhole(body: Uint8Array): SplitBody {
  const text = Buffer.from(body).toString("latin1");
  const lines = (text.startsWith(BOM) ? text.slice(BOM.length) : text).split(/\r\n|\n|\r/);
  // What follows the last line end is no line, unless it has characters: then the body broke off in it.
  const unended = lines.pop() ?? "";
  const events: SplitEvent[] = [];
  let data: string[] = [];
  for (const line of lines) {
    if (line === "") {
      events.push(...eventOf(data));
      data = [];
    } else data.push(...dataOf(line));
  }
  if (unended !== "") data.push(...dataOf(unended));
  return { events, open: eventOf(data)[0] };
}

/** The value of a line's field, where that is `data`. */
function dataOf(line: string): string[] {
  const colon = line.indexOf(":");
  if (colon === 0) return [];
  const field = colon === -1 ? line : line.slice(0, colon);
  const value = colon === -1 ? "" : line.slice(colon + 1);
  return field === "data" ? [value.startsWith(" ") ? value.slice(1) : value] : [];
}

function eventOf(data: string[]): SplitEvent[] {
  const payload = data.join("\n");
  return /^[ \t\n]*$/.test(payload) ? [] : [{ payload, isMultiline: data.length > 1 }];
}
