/** The WebSocket side of delivery: one connection, and the outlet of each subscription on it. */
import type { Socket } from "node:net";
import type { WebSocket } from "ws";
import type { Generation } from "../core/generation.ts";
import type { Ending } from "../core/ports.ts";
import type { DeliveryLimits, Outlet } from "./deliver.ts";
import { endingObject } from "./encoding.ts";
import { eventFrames, textFrame } from "./frames.ts";

/** The close codes sent here (PROTOCOL.md, section 3); those below 4000 other than 1000, 1008 and 1009 say: reconnect and resume. */
export const CLOSE = {
  goingAway: 1001,
  restart: 1012,
  tryLater: 1013,
  badMessages: 4400,
  unauthenticated: 4401,
  tooManyConnections: 4429,
} as const;

/** After a close frame that the peer may never read, the socket is dropped. Milliseconds. */
const CLOSE_PATIENCE_MS = 1000;
/** Answers that the socket has not taken: past so many, the peer is not read from. */
const MAX_OWED = 1000;
/** Frames are joined up to this size, and for so long at most. Milliseconds. */
const MAX_HELD_BYTES = 65_536;
const JOIN_MS = 4;

/**
 * One WebSocket connection. Frames are written to the socket directly, in order with those of `ws`, which without compression
 * writes synchronously. On a connection that carries several streams, what comes within a turn of the event loop, or within
 * four milliseconds of the last write, leaves in one write: there a write costs more than all else. A lone stream's frames leave at once.
 */
export class Connection {
  readonly #ws: WebSocket;
  readonly #socket: Socket;
  readonly #limits: DeliveryLimits;
  readonly #onDrain: () => void;
  readonly #flush = (): void => this.flush();
  /** Frames that wait to leave together. */
  #held: Buffer[] = [];
  #heldBytes = 0;
  #flushTimer: NodeJS.Timeout | undefined;
  #isJoining = false;
  #isClosing = false;
  #isAnswered = true;
  /** Answers that the socket has not taken yet, whether it took one since the last beat, and when it was last seen to. */
  #owed = 0;
  #heldAnswers = 0;
  #hasTaken = false;
  #lastTakenAt = 0;
  #lastWriteAt = performance.now();
  #timer: NodeJS.Timeout | undefined;

  /** @param onDrain called when a full socket takes bytes again, and when the peer is no longer behind */
  constructor(ws: WebSocket, socket: Socket, limits: DeliveryLimits, onDrain: () => void) {
    this.#ws = ws;
    this.#socket = socket;
    this.#limits = limits;
    this.#onDrain = onDrain;
    socket.on("drain", onDrain);
    const answered = (): void => {
      this.#isAnswered = true;
    };
    ws.on("pong", answered);
    // A pong may stand behind much that is still to be answered.
    ws.on("message", answered);
    this.#schedule();
  }

  get isFull(): boolean {
    return this.#socket.writableNeedDrain;
  }

  get backlog(): number {
    return this.#socket.writableLength;
  }

  /** So many streams share the connection from now on. */
  carry(streams: number): void {
    this.#isJoining = streams > 1;
  }

  /** The peer asks for more than it takes. */
  get isBehind(): boolean {
    return this.#owed > MAX_OWED;
  }

  get isOpen(): boolean {
    return !this.#isClosing && this.#ws.readyState === this.#ws.OPEN;
  }

  /** What is written until `letGo` leaves in one write. */
  hold(): void {
    this.#socket.cork();
  }

  letGo(): void {
    this.#socket.uncork();
  }

  send(message: object): void {
    this.#write(textFrame(message), true);
  }

  /** Writes whole frames of events. */
  write(frames: Buffer): void {
    this.#write(frames, false);
  }

  /** @param isOwed an answer, which counts against a peer that asks for more than it takes; deliveries look after events */
  #write(frames: Buffer, isOwed: boolean): void {
    if (!this.isOpen) return;
    if (isOwed) this.#heldAnswers++;
    if (!this.#isJoining && this.#held.length === 0) {
      this.#put(frames);
      return;
    }
    this.#heldBytes += frames.length;
    // Before it holds more than a socket would: only the socket tells that the peer is slow.
    if (this.#held.push(frames) === 1) this.#planFlush();
    if (this.#heldBytes >= MAX_HELD_BYTES) this.flush();
  }

  #planFlush(): void {
    if (performance.now() - this.#lastWriteAt >= JOIN_MS) setImmediate(this.#flush);
    else if (this.#flushTimer === undefined) this.#flushTimer = setTimeout(this.#flush, JOIN_MS);
    else this.#flushTimer.refresh();
  }

  /** What is held leaves now: before anything that `ws` writes, and when it has waited long enough. */
  flush(): void {
    const held = this.#held;
    if (held.length === 0) return;
    this.#held = [];
    this.#heldBytes = 0;
    // Nothing follows a close frame.
    if (!this.isOpen || !this.#socket.writable) return;
    this.#put(held.length === 1 ? (held[0] as Buffer) : Buffer.concat(held));
  }

  #put(bytes: Buffer): void {
    this.#lastWriteAt = performance.now();
    const answers = this.#heldAnswers;
    if (answers === 0) {
      this.#socket.write(bytes);
      return;
    }
    this.#heldAnswers = 0;
    if (this.#owed === 0) this.#lastTakenAt = this.#lastWriteAt;
    this.#owed += answers;
    this.#socket.write(bytes, () => this.#took(answers));
  }

  #took(answers: number): void {
    const wasBehind = this.isBehind;
    this.#hasTaken = true;
    this.#owed -= answers;
    if (wasBehind && !this.isBehind) this.#onDrain();
  }

  /** Says goodbye with a code; nothing is written after it. */
  close(code: number, reason: string): void {
    if (!this.isOpen) return;
    this.flush();
    this.#isClosing = true;
    this.#ws.close(code, reason);
  }

  /** Closes a connection whose peer may not read any more: the code is sent, and the socket dropped soon after. */
  cut(code: number, reason: string): void {
    if (!this.isOpen) return;
    this.close(code, reason);
    setTimeout(() => this.#ws.terminate(), CLOSE_PATIENCE_MS).unref();
  }

  /** The socket is closed: no timer and no listener stays. */
  release(): void {
    this.#isClosing = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#flushTimer);
    this.#socket.off("drain", this.#onDrain);
  }

  #schedule(): void {
    this.#timer = setTimeout(() => this.#beat(), this.#limits.heartbeatMs);
  }

  /** A heartbeat on silence, and a ping that the peer must have answered by the next one. */
  #beat(): void {
    if (!this.isOpen) return;
    if (this.#takesNothing()) {
      this.cut(CLOSE.tryLater, "slow_reader");
      return;
    }
    // A full socket is the delivery's to judge: its peer may well be alive and slow.
    if (!this.isFull) {
      if (!this.#isAnswered) {
        this.#ws.terminate();
        return;
      }
      if (performance.now() - this.#lastWriteAt >= this.#limits.heartbeatMs) this.send({ type: "heartbeat" });
      this.#isAnswered = false;
      this.flush();
      this.#ws.ping();
    }
    this.#schedule();
  }

  /** For a peer that reads nothing without following anything: no delivery looks after that. */
  #takesNothing(): boolean {
    const now = performance.now();
    if (this.#owed === 0 || this.#hasTaken) this.#lastTakenAt = now;
    this.#hasTaken = false;
    return now - this.#lastTakenAt >= this.#limits.writeStallMs;
  }
}

/** One subscription's way out through its connection. */
export class WebSocketOutlet implements Outlet {
  readonly transport = "websocket";
  readonly tellsPosition = true;
  readonly #generation: Generation;
  readonly #connection: Connection;
  readonly #cut: () => void;

  /** @param cut called to cut the whole connection off */
  constructor(generation: Generation, connection: Connection, cut: () => void) {
    this.#generation = generation;
    this.#connection = connection;
    this.#cut = cut;
  }

  get isFull(): boolean {
    return this.#connection.isFull;
  }

  get backlog(): number {
    return this.#connection.backlog;
  }

  get isOpen(): boolean {
    return this.#connection.isOpen;
  }

  hold(): void {
    this.#connection.hold();
  }

  letGo(): void {
    this.#connection.letGo();
  }

  events(after: number, last: number): void {
    this.#connection.write(eventFrames(this.#generation, after, last));
  }

  queued(position: number): void {
    this.#connection.send({ type: "queued", generation: this.#generation.id, position });
  }

  /** The connection breaks its own silence, once for all its subscriptions. */
  heartbeat(): void {}

  ending(ending: Ending, seq: number): void {
    this.#connection.send({ type: "end", generation: this.#generation.id, seq, ...endingObject(ending) });
  }

  /** A subscription is followed to its end. */
  close(): void {}

  cut(): void {
    this.#cut();
  }
}
