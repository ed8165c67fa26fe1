/** A reader of `text/event-stream` over HTTP/1.1 on a bare socket. */
import net from "node:net";
import { MARK, MARK_BYTES, type Mark, nowUs, readMark } from "../wire.ts";
import type { Lane } from "./lane.ts";

const TILDE = MARK.charCodeAt(0);
const CR = 13;
const CRLF2 = Buffer.from("\r\n\r\n");
const DONE = Buffer.from("[DONE]");
const END_EVENT = Buffer.from("event: end");
const NOTHING = Buffer.alloc(0);

export interface SseRequest {
  readonly host: string;
  readonly port: number;
  /** The request as it is sent. */
  readonly text: string;
}

/** @param count called with how many events a read brought */
export class SseReader {
  readonly #lane: Lane;
  readonly #count: (events: number) => void;
  readonly #mark: Mark = { stream: 0, seq: 0, sentUs: 0, arrivedUs: 0 };
  readonly socket: net.Socket;
  #head: Buffer | undefined = NOTHING;
  /** Of the chunk that is being read; undefined while its size is. */
  #left: number | undefined;
  #size = "";
  #skip = 0;
  /** The start of a mark whose end has not come. */
  #rest: Buffer = NOTHING;
  /** The part before, in which the ending may have begun. */
  #last: Buffer = NOTHING;
  #wasDone = false;

  constructor(request: SseRequest, lane: Lane, count: (events: number) => void) {
    this.#lane = lane;
    this.#count = count;
    const socket = net.connect({ host: request.host, port: request.port, noDelay: true });
    this.socket = socket;
    socket.write(request.text);
    lane.asked();
    socket.on("data", (bytes: Buffer) => this.#read(bytes));
    socket.on("error", ({ message }) => lane.ended(message));
    socket.on("close", () => lane.ended("the connection closed early"));
  }

  #read(bytes: Buffer): void {
    let from = 0;
    if (this.#head !== undefined) {
      const head: Buffer = this.#head.length === 0 ? bytes : Buffer.concat([this.#head, bytes]);
      const end = head.indexOf(CRLF2);
      if (end === -1) {
        this.#head = head;
        return;
      }
      this.#head = undefined;
      if (!head.subarray(0, end).toString("latin1").startsWith("HTTP/1.1 200")) {
        this.#lane.ended(head.toString("latin1", 0, 400));
        this.socket.destroy();
        return;
      }
      bytes = head;
      from = end + CRLF2.length;
    }
    const atUs = nowUs();
    while (from < bytes.length)
      from = this.#left === undefined ? this.#sizeAt(bytes, from) : this.#bodyAt(bytes, from, atUs);
  }

  /** Reads at a chunk's size line, and past the line end of the chunk before it. @returns where it got to */
  #sizeAt(bytes: Buffer, from: number): number {
    if (this.#skip > 0) {
      const skipped = Math.min(this.#skip, bytes.length - from);
      this.#skip -= skipped;
      return from + skipped;
    }
    const end = bytes.indexOf(CR, from);
    this.#size += bytes.toString("latin1", from, end === -1 ? bytes.length : end);
    if (end === -1) return bytes.length;
    this.#left = Number.parseInt(this.#size, 16);
    this.#size = "";
    this.#skip = 1;
    if (this.#left === 0) {
      this.#lane.ended(this.#wasDone ? undefined : "no [DONE] at the end");
      this.socket.destroy();
      return bytes.length;
    }
    return end + 1;
  }

  #bodyAt(bytes: Buffer, from: number, atUs: number): number {
    if (this.#skip > 0) {
      this.#skip--;
      return from + 1;
    }
    const left = this.#left as number;
    const to = Math.min(bytes.length, from + left);
    this.#body(bytes.subarray(from, to), atUs);
    if (to - from === left) {
      this.#left = undefined;
      this.#skip = 2;
    } else this.#left = left - (to - from);
    return to;
  }

  #body(read: Buffer, atUs: number): void {
    const body = this.#rest.length === 0 ? read : Buffer.concat([this.#rest, read]);
    this.#rest = NOTHING;
    let events = 0;
    let at = body.indexOf(TILDE);
    while (at !== -1 && at + MARK_BYTES <= body.length) {
      if (readMark(body, at, this.#mark)) {
        this.#lane.event(this.#mark, atUs);
        events++;
      } else this.#lane.strange++;
      at = body.indexOf(TILDE, at + MARK_BYTES);
    }
    if (events > 0) this.#count(events);
    this.#wasDone ||= isLast(body) || (events === 0 && isLast(Buffer.concat([this.#last, body])));
    this.#last = body;
    if (at !== -1) this.#rest = Buffer.from(body.subarray(at));
  }
}

const isLast = (body: Buffer): boolean => body.includes(DONE) || body.includes(END_EVENT);
