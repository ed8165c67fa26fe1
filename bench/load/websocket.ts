/** A client of `sluice.v1` on a bare socket: frames are masked and read by hand, so that it costs little beside the gateway. */
import { randomBytes } from "node:crypto";
import net from "node:net";
import { MARK, type Mark, nowUs, readMark } from "../wire.ts";
import type { Lane } from "./lane.ts";

const TILDE = MARK.charCodeAt(0);
const CRLF2 = Buffer.from("\r\n\r\n");
const NOTHING = Buffer.alloc(0);
const TEXT = 1;
const PING = 9;
const PONG = 10;
const END = '{"type":"end"';
const ERROR = '{"type":"error"';

export interface SocketPlan {
  readonly host: string;
  readonly port: number;
}

/** One connection, and its lanes by the number that the events' marks name. */
export class SocketReader {
  readonly #count: (events: number) => void;
  readonly #lanes = new Map<number, Lane>();
  readonly #names = new Map<string, Lane>();
  readonly #mark: Mark = { stream: 0, seq: 0, sentUs: 0, arrivedUs: 0 };
  readonly #isReady: () => void;
  readonly ready: Promise<void>;
  readonly socket: net.Socket;
  #isOpen = false;
  #rest: Buffer = NOTHING;

  constructor(plan: SocketPlan, count: (events: number) => void) {
    this.#count = count;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ready = promise;
    this.#isReady = resolve;
    this.socket = net.connect({ host: plan.host, port: plan.port, noDelay: true });
    this.socket.write(
      `GET /v1/ws HTTP/1.1\r\nhost: ${plan.host}:${plan.port}\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: ${randomBytes(16).toString("base64")}\r\nsec-websocket-protocol: sluice.v1\r\n\r\n`,
    );
    this.socket.on("data", (bytes: Buffer) => this.#read(bytes));
    this.socket.on("error", ({ message }) => this.#closed(message));
    this.socket.on("close", () => this.#closed("the connection closed early"));
  }

  /** Sends a message for a lane whose events bear that number. */
  ask(stream: number, lane: Lane, message: object): void {
    this.#lanes.set(stream, lane);
    this.#send({ ...message, id: String(stream) });
    lane.asked();
  }

  #send(message: object): void {
    this.#frame(TEXT, Buffer.from(JSON.stringify(message)));
  }

  #frame(opcode: number, payload: Buffer): void {
    const mask = randomBytes(4);
    const short = payload.length < 126;
    const head = Buffer.alloc(short ? 2 : 4);
    head[0] = 0x80 | opcode;
    head[1] = 0x80 | (short ? payload.length : 126);
    if (!short) head.writeUInt16BE(payload.length, 2);
    const masked = Buffer.from(payload.map((byte, at) => byte ^ (mask[at & 3] as number)));
    this.socket.write(Buffer.concat([head, mask, masked]));
  }

  #closed(fault: string): void {
    this.#isReady();
    for (const lane of this.#lanes.values()) lane.ended(fault);
  }

  #read(read: Buffer): void {
    let bytes = this.#rest.length === 0 ? read : Buffer.concat([this.#rest, read]);
    this.#rest = NOTHING;
    if (!this.#isOpen) {
      const end = bytes.indexOf(CRLF2);
      if (end === -1) {
        this.#rest = bytes;
        return;
      }
      if (!bytes.toString("latin1", 0, end).startsWith("HTTP/1.1 101")) {
        this.#closed(bytes.toString("latin1"));
        return;
      }
      this.#isOpen = true;
      bytes = bytes.subarray(end + CRLF2.length);
    }
    this.#frames(bytes, nowUs());
  }

  #frames(bytes: Buffer, atUs: number): void {
    let at = 0;
    let events = 0;
    while (at + 2 <= bytes.length) {
      const short = (bytes[at + 1] as number) & 0x7f;
      const start = at + (short < 126 ? 2 : short === 126 ? 4 : 10);
      if (start > bytes.length) break;
      const length =
        short < 126
          ? short
          : short === 126
            ? bytes.readUInt16BE(at + 2)
            : Number(bytes.readBigUInt64BE(at + 2));
      if (start + length > bytes.length) break;
      if (this.#payload((bytes[at] as number) & 0x0f, bytes, start, start + length, atUs)) events++;
      at = start + length;
    }
    if (at < bytes.length) this.#rest = at === 0 ? bytes : Buffer.from(bytes.subarray(at));
    if (events > 0) this.#count(events);
  }

  /** @returns whether it was an event */
  #payload(opcode: number, bytes: Buffer, from: number, to: number, atUs: number): boolean {
    const at = opcode === TEXT ? bytes.indexOf(TILDE, from) : -1;
    if (at !== -1 && at < to && readMark(bytes, at, this.#mark)) {
      const lane = this.#lanes.get(this.#mark.stream);
      lane?.event(this.#mark, atUs);
      return lane !== undefined;
    }
    if (opcode === PING) this.#frame(PONG, bytes.subarray(from, to));
    else if (opcode === TEXT) this.#message(bytes.toString("utf8", from, to));
    return false;
  }

  #message(text: string): void {
    if (text.startsWith('{"type":"event"')) return; // The chunk with the finish reason: it bears no mark.
    const message = JSON.parse(text) as { type: string; id?: string; generation: string; status?: string };
    if (message.type === "ready") this.#isReady();
    else if (message.type === "accepted") this.#name(message.generation, Number(message.id));
    else if (text.startsWith(END)) {
      this.#names.get(message.generation)?.ended(message.status === "completed" ? undefined : text);
    } else if (text.startsWith(ERROR)) {
      for (const lane of this.#lanes.values()) lane.ended(text);
    }
  }

  #name(generation: string, stream: number): void {
    const lane = this.#lanes.get(stream);
    if (lane !== undefined) this.#names.set(generation, lane);
  }
}
