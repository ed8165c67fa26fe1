/** The Server-Sent Events encodings and their outlet (WHATWG HTML, section 9.2). */
import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Fault } from "../core/errors.ts";
import type { Generation } from "../core/generation.ts";
import type { Log } from "../core/log.ts";
import { type Ending, MULTILINE } from "../core/ports.ts";
import { Chunk, writeChunk } from "./chunk.ts";
import type { Outlet } from "./deliver.ts";
import { type EncodeBatch, endingObject, shared } from "./encoding.ts";

/** How one face of the gateway writes a generation as an event stream. */
export interface SseEncoding {
  readonly events: EncodeBatch<Chunk>;
  /** The last bytes; undefined where the connection must be reset instead, since nothing else would tell the failure. */
  ending(generation: Generation, ending: Ending, seq: number): Buffer | undefined;
  /** Whether comments may be written (bare text has none). */
  readonly hasComments: boolean;
}

export const EVENT_STREAM_HEADERS: Readonly<Record<string, string>> = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache, no-transform",
  "x-accel-buffering": "no",
};

const DATA = Buffer.from("data: ");
const NEXT_LINE = Buffer.from("\ndata: ");
const END = Buffer.from("\n\n");
const PING = Buffer.from(": ping\n\n");
const LF = 0x0a;
const LINE_END = /\r\n|\n|\r/g;

export const endedWell = (ending: Ending): boolean =>
  ending.status === "completed" || ending.status === "incomplete";

/** One event of text: `fields` such as `id: 1\n`, then the payload in as many `data:` lines as it has. */
export function eventBlock(fields: string, payload: string): Buffer {
  return Buffer.from(`${fields}data: ${payload.replace(LINE_END, "\ndata: ")}\n\n`);
}

/** The event stream encoding whose events start with what `fields` gives for each. */
function framed(fields: ((seq: number) => string) | undefined): EncodeBatch<Chunk> {
  return shared(({ log }, after, last) => {
    let size = 0;
    for (let seq = after + 1; seq <= last; seq++) {
      if ((log.flags(seq) & MULTILINE) !== 0) return Chunk.from(framedLines(log, after, last, fields));
      size += (fields?.(seq).length ?? 0) + DATA.length + log.stop(seq) - log.start(seq) + END.length;
    }
    return Chunk.of(size, (out, at) => {
      for (let seq = after + 1; seq <= last; seq++) {
        if (fields !== undefined) at += out.write(fields(seq), at, "latin1");
        out.set(DATA, at);
        at += DATA.length;
        at += log.slab(seq).copy(out, at, log.start(seq), log.stop(seq));
        out[at++] = LF;
        out[at++] = LF;
      }
    });
  });
}

/** The same where a payload has several lines, and its length says too little. */
function framedLines(
  log: Log,
  after: number,
  last: number,
  fields: ((seq: number) => string) | undefined,
): Buffer {
  const parts: Buffer[] = [];
  for (let seq = after + 1; seq <= last; seq++) {
    if (fields !== undefined) parts.push(Buffer.from(fields(seq), "latin1"));
    parts.push(DATA);
    if ((log.flags(seq) & MULTILINE) === 0) parts.push(log.payload(seq));
    else parts.push(...lines(log, seq));
    parts.push(END);
  }
  return Buffer.concat(parts);
}

function lines(log: Log, seq: number): Buffer[] {
  const all = log.payload(seq).toString("utf8").split(LINE_END);
  return all.flatMap((line, index) => (index === 0 ? [Buffer.from(line)] : [NEXT_LINE, Buffer.from(line)]));
}

/** OpenAI's wire: payloads, and `[DONE]` exactly when the generation ended well. No `id:`, `event:` or `retry:` lines. */
export const stockEncoding: SseEncoding = {
  events: framed(undefined),
  hasComments: true,
  ending(_generation, ending) {
    if (endedWell(ending)) return Buffer.from("data: [DONE]\n\n");
    return eventBlock("", errorPayload(ending.fault));
  },
};

/** For `EventSource`: every event has its seq as `id`, and the ending is an event too. */
export const resumableEncoding: SseEncoding = {
  events: framed((seq) => `id: ${seq}\n`),
  hasComments: true,
  ending: (_generation, ending, seq) =>
    eventBlock(`id: ${seq}\nevent: end\n`, JSON.stringify(endingObject(ending))),
};

/** What an upstream said inside its stream goes out as it came; everything else is our own error object. */
export function errorPayload(fault: Fault | undefined): string {
  if (fault === undefined) throw new Error("a generation that did not end well has a fault");
  const said = fault.said?.status === undefined ? fault.said?.body : undefined;
  return said === undefined
    ? JSON.stringify({ error: fault.toObject() })
    : Buffer.from(said).toString("utf8");
}

export interface SseOutletOptions {
  readonly encoding: SseEncoding;
  /** Headers of a good answer; asked for when they leave. */
  readonly headers: () => Record<string, string>;
  /** Milliseconds after which headers leave even without an event; undefined: at once. */
  readonly earlyHeadersMs?: number;
  readonly tellsPosition: boolean;
  /** Answers a generation that failed before headers left, with an HTTP status. */
  readonly refuse?: (fault: Fault) => void;
  /** Called when a full socket takes bytes again. */
  readonly onDrain: () => void;
}

/** An event stream on an HTTP response. */
export class SseOutlet implements Outlet {
  readonly transport = "sse";
  readonly tellsPosition: boolean;
  readonly #generation: Generation;
  readonly #response: ServerResponse;
  readonly #options: SseOutletOptions;
  #early: NodeJS.Timeout | undefined;
  /** The socket that is listened to: the answer may get it only once it has its turn. */
  #socket: Socket | undefined;
  #held: Socket | null = null;

  constructor(generation: Generation, response: ServerResponse, options: SseOutletOptions) {
    this.#generation = generation;
    this.#response = response;
    this.#options = options;
    this.tellsPosition = options.tellsPosition;
    response.on("drain", options.onDrain);
    if (options.earlyHeadersMs === undefined) this.#open();
    else this.#early = setTimeout(() => this.#open(), options.earlyHeadersMs);
  }

  get isFull(): boolean {
    return this.#response.writableNeedDrain || this.#socket?.writableNeedDrain === true;
  }

  get backlog(): number {
    return this.#response.writableLength;
  }

  get isOpen(): boolean {
    return this.#response.headersSent;
  }

  hold(): void {
    this.#held = this.#response.socket;
    this.#held?.cork();
  }

  letGo(): void {
    this.#held?.uncork();
    this.#held = null;
  }

  events(after: number, last: number): void {
    if (this.isOpen) {
      this.#write(after, last);
      return;
    }
    // The headers leave with the first events.
    const { socket } = this.#response;
    socket?.cork();
    this.#open();
    this.#write(after, last);
    socket?.uncork();
  }

  queued(position: number): void {
    this.#comment(Buffer.from(`: queued position=${position}\n\n`));
  }

  heartbeat(position: number | undefined): void {
    if (position === undefined) this.#comment(PING);
    else this.queued(position);
  }

  ending(ending: Ending, seq: number): void {
    clearTimeout(this.#early);
    const { refuse, encoding } = this.#options;
    if (!this.isOpen && ending.fault !== undefined && refuse !== undefined) {
      refuse(ending.fault);
      return;
    }
    this.#open();
    const last = encoding.ending(this.#generation, ending, seq);
    if (last === undefined) this.cut();
    else this.#response.end(last);
  }

  close(): void {
    this.#open();
    this.#response.end();
  }

  cut(): void {
    this.release();
    const { socket } = this.#response;
    if (socket === null) this.#response.destroy();
    else socket.resetAndDestroy();
  }

  /** The reader is gone: no timer and no listener stays behind. */
  release(): void {
    clearTimeout(this.#early);
    this.#response.off("drain", this.#options.onDrain);
    this.#socket?.off("drain", this.#options.onDrain);
  }

  #write(after: number, last: number): void {
    const chunk = this.#options.encoding.events(this.#generation, after, last);
    if (chunk.isEmpty) return;
    this.#listen();
    writeChunk(this.#response, chunk);
  }

  /** What is written past the response fills the socket, and only the socket tells when it drains. */
  #listen(): void {
    const { socket } = this.#response;
    if (this.#socket !== undefined || socket === null) return;
    this.#socket = socket;
    socket.on("drain", this.#options.onDrain);
  }

  #open(): void {
    clearTimeout(this.#early);
    if (this.isOpen) return;
    this.#response.writeHead(200, this.#options.headers());
    this.#response.flushHeaders();
  }

  #comment(bytes: Buffer): void {
    if (this.#options.encoding.hasComments) this.#response.write(bytes);
  }
}
