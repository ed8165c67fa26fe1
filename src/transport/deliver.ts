import type { Generation } from "../core/generation.ts";
import type { Ending, Transport } from "../core/ports.ts";
import type { Reader } from "../core/reader.ts";

/** One reader's way out: an encoding and the socket behind it. All calls are synchronous. */
export interface Outlet {
  readonly transport: Transport;
  /** The socket takes no more for now: `Delivery.drained` will be called once it does. */
  readonly isFull: boolean;
  /** Bytes written that the socket has not taken yet. */
  readonly backlog: number;
  /** Headers have left: heartbeats may be written. */
  readonly isOpen: boolean;
  /** The position is told as it changes, and not only with a heartbeat. */
  readonly tellsPosition: boolean;
  /** What is written until `letGo` leaves in one write. */
  hold(): void;
  letGo(): void;
  /** Writes events `after+1 .. last`. */
  events(after: number, last: number): void;
  queued(position: number): void;
  /** Breaks a silence; `position` is given where it waits in the queue. */
  heartbeat(position: number | undefined): void;
  /** Writes the ending and lets the socket go. */
  ending(ending: Ending, seq: number): void;
  /** Lets the socket go where the reader wanted no more than what was there. */
  close(): void;
  /** Cuts the reader off, with nothing more written. */
  cut(): void;
}

export interface DeliveryLimits {
  /** Milliseconds of silence before a heartbeat. */
  readonly heartbeatMs: number;
  /** Milliseconds in which the socket took nothing, after which the reader is cut off. */
  readonly writeStallMs: number;
}

export interface DeliveryOptions {
  /** Read no further than this seq, and do not wait for more. */
  readonly until?: number | undefined;
  /** Called once when the delivery is over, by its ending or otherwise. */
  readonly onOver?: () => void;
}

/** Events are joined into one write up to this size: what a lagging reader holds beyond its socket's own buffer. */
const BATCH_BYTES = 65_536;
/** Queue positions are told at most so often. Milliseconds. */
const POSITION_MS = 1000;

/**
 * The one delivery loop: reads from the log after its cursor, hands batches to the outlet, waits for the socket to drain,
 * keeps silence from lasting, and ends once. It holds no events of its own: a reader that cannot keep up waits alone.
 */
export class Delivery {
  readonly #generation: Generation;
  readonly #reader: Reader;
  readonly #outlet: Outlet;
  readonly #limits: DeliveryLimits;
  readonly #options: DeliveryOptions;
  readonly #turn = (): void => this.#deliver();
  #cursor: number;
  #isOver = false;
  #isBlocked = false;
  #lastWriteAt = performance.now();
  /** While blocked: when the socket last took something, and what it held then. */
  #lastTakenAt = 0;
  #lastBacklog = 0;
  #toldPosition: number | undefined;
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param after the seq to start after; the caller has checked that it exists
   */
  constructor(
    reader: Reader,
    outlet: Outlet,
    after: number,
    limits: DeliveryLimits,
    options: DeliveryOptions = {},
  ) {
    this.#generation = reader.generation;
    this.#reader = reader;
    this.#outlet = outlet;
    this.#cursor = after;
    this.#limits = limits;
    this.#options = options;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  start(): void {
    this.#tellPosition();
    this.#deliver();
    if (!this.#isOver) this.#schedule();
  }

  /** The socket takes bytes again. */
  drained(): void {
    if (!this.#isBlocked) return;
    this.#isBlocked = false;
    this.#deliver();
  }

  /** Stops reading: `vanished` where the reader did not choose to. Safe to call again. */
  stop(vanished: boolean): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#generation.log.unwait(this.#turn);
    this.#reader.leave(vanished);
    this.#options.onOver?.();
  }

  #deliver(): void {
    if (this.#isOver) return;
    // Nothing more comes: the last events leave with the ending. Until then holding costs more than it saves.
    const areLast = this.#generation.isEnded;
    if (areLast) this.#outlet.hold();
    while (!this.#isOver && this.#step());
    if (areLast) this.#outlet.letGo();
  }

  /** Does what can be done now; false when there is nothing more to do but wait. */
  #step(): boolean {
    const { log } = this.#generation;
    if (this.#outlet.isFull) {
      this.#block();
      return false;
    }
    const until = this.#options.until ?? Number.POSITIVE_INFINITY;
    const last = Math.min(log.batch(this.#cursor, BATCH_BYTES), until);
    if (last > this.#cursor) {
      this.#write(last);
      return true;
    }
    if (this.#cursor >= until) this.#leave();
    else if (log.ending !== undefined) this.#end(log.ending, log.lastSeq);
    else log.wait(this.#turn);
    return false;
  }

  #write(last: number): void {
    this.#outlet.events(this.#cursor, last);
    this.#cursor = last;
    this.#lastWriteAt = performance.now();
    this.#reader.handed(last);
  }

  #end(ending: Ending, seq: number): void {
    this.#outlet.ending(ending, seq);
    this.stop(false);
  }

  #leave(): void {
    this.#outlet.close();
    this.stop(false);
  }

  #block(): void {
    if (this.#isBlocked) return;
    this.#isBlocked = true;
    this.#lastTakenAt = performance.now();
    this.#lastBacklog = this.#outlet.backlog;
    this.#schedule();
  }

  /** One timer looks after heartbeat, write stall and position; it is set again when it fires, never for an event. */
  #schedule(): void {
    clearTimeout(this.#timer);
    const { heartbeatMs, writeStallMs } = this.#limits;
    const due = this.#isBlocked ? this.#lastTakenAt + writeStallMs : this.#lastWriteAt + heartbeatMs;
    const wait = Math.max(1, Math.ceil(due - performance.now()));
    const isWatchingPosition = this.#outlet.tellsPosition && this.#generation.status === "queued";
    this.#timer = setTimeout(() => this.#check(), isWatchingPosition ? Math.min(wait, POSITION_MS) : wait);
  }

  #check(): void {
    if (this.#isBlocked) this.#checkTaken();
    else this.#breakSilence();
    if (!this.#isOver) this.#schedule();
  }

  #checkTaken(): void {
    const now = performance.now();
    const { backlog } = this.#outlet;
    if (backlog < this.#lastBacklog) this.#lastTakenAt = now;
    this.#lastBacklog = backlog;
    if (now - this.#lastTakenAt < this.#limits.writeStallMs) return;
    this.#generation.observer.slowReader(this.#outlet.transport);
    this.#outlet.cut();
    this.stop(true);
  }

  #breakSilence(): void {
    if (!this.#outlet.isOpen || this.#outlet.isFull) return;
    this.#tellPosition();
    if (performance.now() - this.#lastWriteAt < this.#limits.heartbeatMs) return;
    this.#outlet.heartbeat(this.#generation.position);
    this.#lastWriteAt = performance.now();
  }

  #tellPosition(): void {
    if (!this.#outlet.tellsPosition || !this.#outlet.isOpen) return;
    const { position } = this.#generation;
    if (position === undefined || position === this.#toldPosition) return;
    this.#toldPosition = position;
    this.#outlet.queued(position);
    this.#lastWriteAt = performance.now();
  }
}
