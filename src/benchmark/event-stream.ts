/** Cuts a `text/event-stream` into its events, as its bytes arrive. */

export type EventSink = (type: string, data: string) => void;

/** Lines end with LF, CRLF or CR, at any boundary of the reads. An event without its blank line is given by `end`. */
export class EventStream {
  readonly #sink: EventSink;
  readonly #decoder = new TextDecoder();
  #rest = "";
  #type = "";
  #data: string | undefined;

  constructor(sink: EventSink) {
    this.#sink = sink;
  }

  push(bytes: Uint8Array): void {
    const text = this.#rest + this.#decoder.decode(bytes, { stream: true });
    // A CR at the very end may be half of a CRLF: it waits for the next read.
    const complete = text.endsWith("\r") ? text.length - 1 : text.length;
    let start = 0;
    for (let at = lineEnd(text, 0); at !== -1 && at < complete; at = lineEnd(text, start)) {
      const isPair = text[at] === "\r" && text[at + 1] === "\n";
      this.#line(text.slice(start, at));
      start = at + (isPair ? 2 : 1);
    }
    this.#rest = text.slice(start);
  }

  end(): void {
    const last = this.#rest.replace(/\r$/, "");
    if (last !== "") this.#line(last);
    this.#line("");
  }

  #line(line: string): void {
    if (line === "") {
      this.#dispatch();
      return;
    }
    const value = (name: string): string | undefined => {
      if (!line.startsWith(`${name}:`)) return undefined;
      return line.slice(line[name.length + 1] === " " ? name.length + 2 : name.length + 1);
    };
    const data = value("data");
    if (data !== undefined) this.#data = this.#data === undefined ? data : `${this.#data}\n${data}`;
    else this.#type = value("event") ?? this.#type;
  }

  #dispatch(): void {
    const [type, data] = [this.#type, this.#data];
    this.#type = "";
    this.#data = undefined;
    if (data !== undefined && data.trim() !== "") this.#sink(type, data);
  }
}

/** Where the next line ends; -1 where it has not ended. Streams have LF in the main: a CR is looked for only before it. */
function lineEnd(text: string, from: number): number {
  const lf = text.indexOf("\n", from);
  const cr = text.lastIndexOf("\r", lf === -1 ? text.length : lf) < from ? -1 : text.indexOf("\r", from);
  if (cr === -1) return lf;
  return lf === -1 ? cr : Math.min(lf, cr);
}
