/** One timer for all streams: each stream is due once a period, and the streams are spread over the period. */
export interface Paced {
  /** Sends one event. */
  send(): void;
}

const GOLDEN = (Math.sqrt(5) - 1) / 2;

/** Streams of one pace. Slots are a millisecond each, which is as fine as timers are. */
export class Wheel {
  readonly #slots: Set<Paced>[];
  readonly #slotMs: number;
  #at: number;
  #placed = 0;

  /** @param pace events a second for each stream */
  constructor(pace: number) {
    const periodMs = 1000 / pace;
    this.#slots = Array.from({ length: Math.max(1, Math.round(periodMs)) }, () => new Set<Paced>());
    this.#slotMs = periodMs / this.#slots.length;
    this.#at = this.#position();
  }

  /** @returns takes it out again */
  add(paced: Paced): () => void {
    const slot = Math.floor(((this.#placed++ * GOLDEN) % 1) * this.#slots.length);
    const streams = this.#slots[slot] as Set<Paced>;
    streams.add(paced);
    return () => streams.delete(paced);
  }

  /** Sends what has become due. After a delay no stream gets two at once: they would be one read for whoever is measured. */
  turn(): void {
    const now = this.#position();
    const from = Math.max(this.#at, now - this.#slots.length);
    this.#at = now;
    for (let slot = from; slot < now; slot++) {
      for (const paced of this.#slots[slot % this.#slots.length] as Set<Paced>) paced.send();
    }
  }

  #position(): number {
    return Math.floor(performance.now() / this.#slotMs);
  }
}

const wheels = new Map<number, Wheel>();
let timer: NodeJS.Timeout | undefined;
let count = 0;

/** Has it send `pace` events a second, until it is taken out by what this returns. */
export function paceOf(pace: number, paced: Paced): () => void {
  let wheel = wheels.get(pace);
  if (wheel === undefined) wheels.set(pace, (wheel = new Wheel(pace)));
  const take = wheel.add(paced);
  count++;
  timer ??= setInterval(() => {
    for (const each of wheels.values()) each.turn();
  }, 1);
  let isIn = true;
  return () => {
    if (!isIn) return;
    isIn = false;
    take();
    if (--count > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}
