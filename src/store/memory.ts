import type { Store } from "../core/gateway.ts";
import type { Generation } from "../core/generation.ts";

export interface MemoryStoreLimits {
  /** Milliseconds that an ended generation is kept. */
  readonly retentionMs: number;
  /** Bytes of all kept logs together; the oldest go first. */
  readonly retainedMaxBytes: number;
}

interface Kept {
  readonly generation: Generation;
  readonly bytes: number;
  /** Monotonic milliseconds. */
  readonly expiresAt: number;
}

/** What a kept generation costs beyond its payloads: its objects, and one row of the index for each event. */
const BASE_BYTES = 2048;
const ROW_BYTES = 16;

/** Keeps ended generations in this process, in the order in which they ended. */
export class MemoryStore implements Store {
  readonly #limits: MemoryStoreLimits;
  readonly #kept = new Map<string, Kept>();
  #forgotten: (generation: Generation) => void = () => {};
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(limits: MemoryStoreLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#kept.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  onForgotten(listener: (generation: Generation) => void): void {
    this.#forgotten = listener;
  }

  keep(generation: Generation): void {
    const bytes = BASE_BYTES + generation.log.bytes + ROW_BYTES * generation.log.head;
    const expiresAt = performance.now() + this.#limits.retentionMs;
    this.#kept.set(generation.id, { generation, bytes, expiresAt });
    this.#bytes += bytes;
    while (this.#bytes > this.#limits.retainedMaxBytes && this.#dropOldest());
    this.#schedule();
  }

  async find(id: string): Promise<Generation | undefined> {
    const kept = this.#kept.get(id);
    // The sweep may be late; what has expired is gone all the same.
    return kept === undefined || kept.expiresAt <= performance.now() ? undefined : kept.generation;
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#kept.clear();
    this.#bytes = 0;
  }

  #dropOldest(): boolean {
    const [oldest] = this.#kept.values();
    if (oldest === undefined) return false;
    this.#kept.delete(oldest.generation.id);
    this.#bytes -= oldest.bytes;
    this.#forgotten(oldest.generation);
    return true;
  }

  /** One timer for all: they expire in the order in which they ended. */
  #schedule(): void {
    const [oldest] = this.#kept.values();
    if (oldest === undefined || this.#timer !== undefined) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = undefined;
        this.#sweep();
      },
      Math.max(1, oldest.expiresAt - performance.now()),
    );
    this.#timer.unref();
  }

  #sweep(): void {
    const now = performance.now();
    for (const kept of this.#kept.values()) {
      if (kept.expiresAt > now) break;
      this.#dropOldest();
    }
    this.#schedule();
  }
}
