/** Waiting: between two tries, and for a sign of life. */

import { page } from "./page.ts";

const BASE_MS = 250;
const MOST_MS = 10_000;
const LAST_MS = 100;

/** Exponential, with full jitter: a crowd that lost one gateway comes back spread out. */
export const backoff = (tries: number): number => Math.random() * Math.min(MOST_MS, BASE_MS * 2 ** tries);

/**
 * Waits before the next try. Ends early when the network is back or the page is shown, unless the gateway asked for the
 * pause; is longer while the browser says that there is no network, though the gateway may be on this very machine.
 * @param leastMs what the gateway asked for, if it did
 */
export async function pause(tries: number, leastMs: number | undefined, signal: AbortSignal): Promise<void> {
  if (leastMs === undefined) await sleep(backoff(tries), signal, true);
  else await sleep(leastMs + Math.random() * BASE_MS, signal, false);
  if (isOffline()) await sleep(MOST_MS, signal, true);
}

export const isOffline = (): boolean => page.navigator?.onLine === false;

function sleep(ms: number, signal: AbortSignal, isWoken: boolean): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const over = new AbortController();
    const wake = (): void => {
      clearTimeout(timer);
      over.abort();
      resolve();
    };
    const timer = setTimeout(wake, ms);
    const options = { signal: over.signal };
    signal.addEventListener("abort", wake, options);
    if (!isWoken) return;
    page.addEventListener?.("online", wake, options);
    page.document?.addEventListener(
      "visibilitychange",
      () => page.document?.visibilityState === "visible" && wake(),
      options,
    );
  });
}

/** Calls once when nothing was heard for so long. One timer, set again when it fires: a message costs none. */
export class Watch {
  #limitMs: number;
  readonly #onSilence: () => void;
  #heardAt = Date.now();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(limitMs: number, onSilence: () => void) {
    this.#limitMs = limitMs;
    this.#onSilence = onSilence;
    this.#schedule(limitMs);
  }

  heard(limitMs = this.#limitMs): void {
    this.#heardAt = Date.now();
    if (limitMs === this.#limitMs) return;
    this.#limitMs = limitMs;
    clearTimeout(this.#timer);
    this.#schedule(limitMs);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  /** @param isLast what came may have waited behind whatever kept this program busy: it had a moment to be read */
  #schedule(ms: number, isLast = false): void {
    this.#timer = setTimeout(() => {
      const leftMs = this.#heardAt + this.#limitMs - Date.now();
      if (leftMs > 0) this.#schedule(leftMs);
      else if (isLast) this.#onSilence();
      else this.#schedule(LAST_MS, true);
    }, ms);
  }
}
