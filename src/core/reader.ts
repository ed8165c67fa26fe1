import type { Generation } from "./generation.ts";
import type { Transport } from "./ports.ts";

/** One reader's membership in a generation: counted from `join` to `leave`, and timed once. */
export class Reader {
  readonly generation: Generation;
  readonly transport: Transport;
  #isUntimed: boolean;
  #isHere = true;

  constructor(generation: Generation, transport: Transport, isTimed: boolean) {
    this.generation = generation;
    this.transport = transport;
    this.#isUntimed = isTimed;
  }

  /** Events up to `last` were handed to this reader's socket. */
  handed(last: number): void {
    if (this.#isUntimed && this.generation.handed(this.transport, last)) this.#isUntimed = false;
  }

  /** The reader is gone: with the ending, of its own will, or (`vanished`) cut off. Safe to call again. */
  leave(vanished: boolean): void {
    if (!this.#isHere) return;
    this.#isHere = false;
    const phase = vanished && !this.generation.isEnded ? this.generation.phase : undefined;
    this.generation.observer.readerLeft(this.transport, phase);
    this.generation.left();
  }
}
