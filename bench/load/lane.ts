import { type Mark, nowUs } from "../wire.ts";

/** Latencies in microseconds, of the window being measured. */
export interface Samples {
  readonly event: number[];
  readonly first: number[];
}

/** What one stream of events has come to: every event is checked for its place. */
export class Lane {
  readonly #events: number;
  readonly #samples: Samples;
  readonly #missing = new Set<number>();
  #next = 1;
  #hasEnded = false;
  /** When the request left. */
  askedUs = 0;
  duplicated = 0;
  reordered = 0;
  /** Of another stream, or not readable. */
  strange = 0;
  fault: string | undefined;
  /** From the request to the end, microseconds. */
  tookUs = 0;

  constructor(events: number, samples: Samples) {
    this.#events = events;
    this.#samples = samples;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Events that never came. */
  get lost(): number {
    return this.#missing.size + Math.max(0, this.#events - this.#next + 1);
  }

  asked(): void {
    this.askedUs = nowUs();
  }

  event({ seq, sentUs, arrivedUs }: Mark, atUs: number): void {
    this.#samples.event.push(atUs - sentUs);
    if (seq === this.#next) {
      // What the upstream itself took between the request and its first event is no delay of the gateway's.
      if (seq === 1) this.#samples.first.push(atUs - this.askedUs - (sentUs - arrivedUs));
      this.#next++;
    } else if (seq > this.#next) {
      while (this.#next < seq) this.#missing.add(this.#next++);
      this.#next++;
    } else if (this.#missing.delete(seq)) this.reordered++;
    else this.duplicated++;
  }

  /** An answer that is not streamed has come. */
  answered(): void {
    this.#samples.first.push(nowUs() - this.askedUs);
  }

  /** @param fault why it did not end well */
  ended(fault?: string): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.tookUs = nowUs() - this.askedUs;
    this.fault = fault;
  }
}
