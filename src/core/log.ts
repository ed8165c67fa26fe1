import { Fault } from "./errors.ts";
import type { Ending } from "./ports.ts";
import { giveSlab, SLAB_BYTES, takeSlab } from "./slabs.ts";

/** A slab is as large as all before it together, from this up to the largest: at most half of a log's memory stands empty. */
const FIRST_SLAB_BYTES = 4096;
/** Columns of one row of the index: slab, start, end, flags. */
const COLUMNS = 4;
const ROW_BYTES = COLUMNS * Uint32Array.BYTES_PER_ELEMENT;
const FIRST_ROWS = 64;

/** A tally of bytes that several logs share. */
export interface Budget {
  used: number;
}

/**
 * The append-only log of one generation: events numbered from 1, and one ending, which is the last entry.
 *
 * Payloads are copied into slabs and found by integer offsets, so that an entry costs no object. Appended entries are staged:
 * readers see them, all at once and in order, with the next `publish()`; `discard()` takes staged entries back.
 */
export class Log {
  readonly #maxBytes: number;
  readonly #budget: Budget;
  readonly #slabs: Buffer[] = [];
  /** Bytes in use of the last slab. */
  #fill = 0;
  /** The index, and the slab in which it lies. */
  #rowSlab = takeSlab(FIRST_ROWS * ROW_BYTES);
  #rows = rowsIn(this.#rowSlab);
  #staged = 0;
  #head = 0;
  #bytes = 0;
  #ending: Ending | undefined;
  /** The first that waits, in most logs the only one; a set costs more than all else that is done to wake it. */
  #first: (() => void) | undefined;
  #others: Set<() => void> | undefined;
  /** The set to collect the next that wait, while the others are woken: an entry costs no new one. */
  #spare: Set<() => void> | undefined;

  /** @param maxBytes payload bytes past which `append` throws `log_limit` */
  constructor(maxBytes: number, budget: Budget = { used: 0 }) {
    this.#maxBytes = maxBytes;
    this.#budget = budget;
  }

  /** The seq of the last event that readers can see; 0 before the first. */
  get head(): number {
    return this.#head;
  }

  /** The seq of the last event appended, whether readers see it yet or not. */
  get stagedSeq(): number {
    return this.#staged;
  }

  /** The last position that exists: the ending's seq once there is one, else the head. */
  get lastSeq(): number {
    return this.#ending === undefined ? this.#head : this.#head + 1;
  }

  get ending(): Ending | undefined {
    return this.#ending;
  }

  /** Payload bytes, staged ones included. */
  get bytes(): number {
    return this.#bytes;
  }

  /** How many readers wait for the next entry. */
  get waiting(): number {
    return (this.#others?.size ?? 0) + (this.#first === undefined ? 0 : 1);
  }

  /**
   * Stages a copy of `source[start..end)` as the next event.
   * @throws Fault `log_limit` when the log would outgrow its bound; nothing is staged then
   */
  append(source: Buffer, start: number, end: number, flags: number): void {
    const length = end - start;
    if (this.#bytes + length > this.#maxBytes) throw new Fault("log_limit");
    if (this.#ending !== undefined) throw new Error("append after the ending");
    const slab = this.#room(length);
    source.copy(slab, this.#fill, start, end);
    this.#index(this.#fill, this.#fill + length, flags);
    this.#fill += length;
    this.#bytes += length;
    this.#budget.used += length;
  }

  /** Shows what is staged to the readers and wakes those that wait. */
  publish(): void {
    if (this.#head === this.#staged || this.#ending !== undefined) return;
    this.#head = this.#staged;
    this.#wake();
  }

  /** Publishes what is staged with the ending, which must follow at once and wakes those that wait for both. */
  publishLast(): void {
    if (this.#ending === undefined) this.#head = this.#staged;
  }

  /** Takes back what was staged and never published. Only before anything was published: an event's seq never changes. */
  discard(): void {
    if (this.#head !== 0) throw new Error("discard after publish");
    this.#budget.used -= this.#bytes;
    this.#bytes = 0;
    this.#staged = 0;
    this.#giveSlabs();
  }

  /** Ends the log. What is staged and not published by then is lost. @returns false where it had ended before */
  end(ending: Ending): boolean {
    if (this.#ending !== undefined) return false;
    if (this.#head === 0) this.discard();
    this.#ending = ending;
    this.#budget.used -= this.#bytes;
    this.#wake();
    return true;
  }

  /** Gives its memory back. Only once it has ended, and nobody reads it any more: its events are gone. */
  release(): void {
    if (this.#ending === undefined) throw new Error("release before the ending");
    if (this.isReleased) return;
    this.#giveSlabs();
    giveSlab(this.#rowSlab);
    this.#rows = NO_ROWS;
  }

  /** It has no events any more, and must not be read. */
  get isReleased(): boolean {
    return this.#rows === NO_ROWS;
  }

  /**
   * The last seq of a batch of events after `after`: as many as are published and fit into `maxBytes`, but at least one.
   * Equal to `after` where there is nothing new.
   */
  batch(after: number, maxBytes: number): number {
    let last = after;
    let bytes = 0;
    while (last < this.#head) {
      const row = last * COLUMNS;
      bytes += (this.#rows[row + 2] as number) - (this.#rows[row + 1] as number);
      if (bytes > maxBytes && last > after) break;
      last++;
    }
    return last;
  }

  /** The slab that holds the payload of event `seq`; with `start` and `stop`, its bytes without a new object. */
  slab(seq: number): Buffer {
    return this.#slabs[this.#rows[(seq - 1) * COLUMNS] as number] as Buffer;
  }

  start(seq: number): number {
    return this.#rows[(seq - 1) * COLUMNS + 1] as number;
  }

  stop(seq: number): number {
    return this.#rows[(seq - 1) * COLUMNS + 2] as number;
  }

  flags(seq: number): number {
    return this.#rows[(seq - 1) * COLUMNS + 3] as number;
  }

  /** A view (no copy) of the payload of event `seq`. */
  payload(seq: number): Buffer {
    return this.slab(seq).subarray(this.start(seq), this.stop(seq));
  }

  /** Calls `ready` once, at the next publish or ending. Every `wait` is ended by that call or by `unwait`. */
  wait(ready: () => void): void {
    if (ready === this.#first || this.#others?.has(ready)) return;
    if (this.#first === undefined) this.#first = ready;
    else (this.#others ??= new Set()).add(ready);
  }

  unwait(ready: () => void): void {
    if (this.#first === ready) this.#first = undefined;
    else this.#others?.delete(ready);
  }

  /**
   * Reads in batches from after `after` until the ending: yields the payloads (views) of each batch. Returns at the ending,
   * or when `signal` aborts.
   */
  async *read(
    after: number,
    signal: AbortSignal,
    maxBytes = SLAB_BYTES,
  ): AsyncGenerator<Buffer[], void, void> {
    let position = after;
    while (!signal.aborted) {
      const last = this.batch(position, maxBytes);
      if (last > position) {
        const payloads: Buffer[] = [];
        for (let seq = position + 1; seq <= last; seq++) payloads.push(this.payload(seq));
        position = last;
        yield payloads;
      } else if (this.#ending !== undefined) return;
      else await this.#next(signal);
    }
  }

  #next(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.unwait(done);
        signal.removeEventListener("abort", done);
        resolve();
      };
      this.wait(done);
      signal.addEventListener("abort", done, { once: true });
    });
  }

  #wake(): void {
    const first = this.#first;
    this.#first = undefined;
    const others = this.#others;
    if (others !== undefined) {
      // Who waits from here on waits for the next entry. Who is woken may end the log, which wakes again: there is no spare then.
      this.#others = this.#spare;
      this.#spare = undefined;
    }
    first?.();
    if (others === undefined) return;
    for (const ready of others) ready();
    others.clear();
    this.#spare = others;
  }

  #room(length: number): Buffer {
    const current = this.#slabs.at(-1);
    if (current !== undefined && current.length - this.#fill >= length) return current;
    const size = Math.min(Math.max(this.#bytes, FIRST_SLAB_BYTES), SLAB_BYTES);
    const slab = takeSlab(Math.max(size, length));
    this.#slabs.push(slab);
    this.#fill = 0;
    return slab;
  }

  #index(start: number, end: number, flags: number): void {
    const row = this.#staged * COLUMNS;
    if (row === this.#rows.length) this.#growRows();
    this.#rows[row] = this.#slabs.length - 1;
    this.#rows[row + 1] = start;
    this.#rows[row + 2] = end;
    this.#rows[row + 3] = flags;
    this.#staged++;
  }

  #growRows(): void {
    const outgrown = this.#rowSlab;
    this.#rowSlab = takeSlab(outgrown.length * 2);
    outgrown.copy(this.#rowSlab);
    this.#rows = rowsIn(this.#rowSlab);
    giveSlab(outgrown);
  }

  #giveSlabs(): void {
    for (const slab of this.#slabs) giveSlab(slab);
    this.#slabs.length = 0;
    this.#fill = 0;
  }
}

const NO_ROWS = new Uint32Array(0);

const rowsIn = ({ buffer, byteOffset, length }: Buffer): Uint32Array =>
  new Uint32Array(buffer, byteOffset, length / Uint32Array.BYTES_PER_ELEMENT);
