/** Waiting: between two tries, and for a sign of life. */
import { page } from "./page.ts";

const BASE_MS = 250;
const MOST_MS = 10_000;
const LAST_MS = 100;
/** Heartbeats of silence after which a connection is dead. */
export const SILENT_BEATS = 2.5;

/** Exponential, with full jitter: a crowd that lost one gateway comes back spread out. */
export const backoff = (tries: number): number => Math.random() * Math.min(MOST_MS, BASE_MS * 2 ** tries);

export const isOffline = (): boolean => page.navigator?.onLine === false;

/**
 * Waits before the next try. Ends early when the network is back or the page is shown, unless the gateway asked for the
 * pause; is longer while the browser says that there is no network, though the gateway may be on this very machine.
 * @param leastMs what the gateway asked for, if it did
 */
export async function pause(tries: number, leastMs: number | undefined, signal: AbortSignal): Promise<void> {
  await (leastMs === undefined
    ? sleep(backoff(tries), signal, true)
    : sleep(leastMs + Math.random() * BASE_MS, signal));
  if (isOffline()) await sleep(MOST_MS, signal, true);
}

const sleep = (ms: number, signal: AbortSignal, isWoken?: boolean): Promise<void> =>
  new Promise((resolve) => {
    const over = new AbortController();
    const wake = (): void => {
      clearTimeout(timer);
      over.abort();
      resolve();
    };
    const timer = setTimeout(wake, ms);
    if (signal.aborted) wake();
    signal.addEventListener("abort", wake, over);
    if (!isWoken) return;
    page.addEventListener?.("online", wake, over);
    page.addEventListener?.("visibilitychange", () => page.document?.hidden || wake(), over);
  });

/** Tells of signs of life; silence may be longer or shorter from one of them on. */
export interface Watch {
  heard(limitMs?: number): void;
  stop(): void;
}

/** Calls once when nothing was heard for so long. */
export function watch(limitMs: number, onSilence: () => void): Watch {
  let timer: ReturnType<typeof setTimeout>;
  // What came may have waited behind whatever kept this program busy: it has a moment to be read.
  const last = (): void => void (timer = setTimeout(onSilence, LAST_MS));
  const stop = (): void => clearTimeout(timer);
  const heard = (ms = limitMs): void => {
    stop();
    timer = setTimeout(last, (limitMs = ms));
  };
  heard();
  return { heard, stop };
}
