/** Sends the requests: when they are due, as many at once as allowed, to one server or to two in turn. */
import { setTimeout as sleep } from "node:timers/promises";
import { Observation, RequestFault } from "./observation.ts";
import type { RequestBody, Wire } from "./wire.ts";

export interface Side {
  readonly wire: Wire;
  readonly observations: Observation[];
}

export interface LoadPlan {
  /** Requests to each side. */
  readonly count: number;
  /** When each request is due, in milliseconds from the start; as many as requests to all sides together. */
  readonly dueMs: readonly number[];
  /** Over all sides together; Infinity for no limit. */
  readonly concurrency: number;
  readonly timeoutMs: number;
  /** The body of the nth request over all sides. */
  bodyOf(index: number): RequestBody;
}

export class Load {
  readonly #plan: LoadPlan;
  readonly #sides: readonly Side[];
  readonly #stop: AbortSignal;
  readonly #running = new Map<AbortController, Promise<void>>();
  #left: (() => void) | undefined;
  /** On the clock of all observations. */
  startMs = 0;
  endMs = 0;

  /** @param stop ends the run: what runs is interrupted, what has not begun never does */
  constructor(plan: LoadPlan, sides: readonly Side[], stop: AbortSignal) {
    this.#plan = plan;
    this.#sides = sides;
    this.#stop = stop;
  }

  get running(): number {
    return this.#running.size;
  }

  /** Resolves when every request has ended, or the run was stopped. Never rejects for a request's fault. */
  async run(): Promise<void> {
    this.startMs = performance.now();
    const interrupt = (): void => {
      for (const controller of this.#running.keys()) controller.abort(INTERRUPTED);
    };
    this.#stop.addEventListener("abort", interrupt);
    try {
      await this.#send();
    } catch (thrown) {
      if (!this.#stop.aborted) throw thrown;
    }
    await Promise.all(this.#running.values());
    this.#stop.removeEventListener("abort", interrupt);
    this.endMs = performance.now();
  }

  async #send(): Promise<void> {
    const { count, dueMs, concurrency } = this.#plan;
    for (const [index, side] of turns(count, this.#sides.length).entries()) {
      const due = this.startMs + (dueMs[index] ?? 0);
      await this.#until(due);
      while (this.#running.size >= concurrency) await new Promise<void>((resolve) => (this.#left = resolve));
      if (this.#stop.aborted) return;
      this.#begin(index, side, due);
    }
  }

  /** A timer may fire early by less than a millisecond; no request is sent before it is due. */
  async #until(due: number): Promise<void> {
    for (let early = due - performance.now(); early > 0; early = due - performance.now()) {
      await sleep(Math.ceil(early), undefined, { signal: this.#stop });
    }
  }

  #begin(index: number, side: number, due: number): void {
    const target = this.#sides[side];
    if (target === undefined) throw new Error(`no side ${side}`);
    const body = this.#plan.bodyOf(index);
    const controller = new AbortController();
    const seen = new Observation(due, performance.now());
    target.observations.push(seen);
    const request = this.#request(target.wire, body, seen, controller).finally(() => {
      this.#running.delete(controller);
      this.#left?.();
    });
    this.#running.set(controller, request);
  }

  async #request(
    wire: Wire,
    body: RequestBody,
    seen: Observation,
    controller: AbortController,
  ): Promise<void> {
    const { timeoutMs } = this.#plan;
    const timer = setTimeout(() => {
      controller.abort(new RequestFault("request_timeout", `not done after ${timeoutMs / 1000} s`));
    }, timeoutMs);
    try {
      await wire.generate(body, seen, controller.signal);
      complete(seen);
    } catch (thrown) {
      if (!(thrown instanceof RequestFault)) throw thrown;
      seen.fault = thrown;
      seen.outcome = this.#stop.aborted ? "interrupted" : "failed";
    } finally {
      seen.endMs = performance.now();
      clearTimeout(timer);
    }
  }
}

/** Why requests end that the user's own interruption cuts off. */
export const INTERRUPTED = new RequestFault("interrupted", "the run was stopped");

/** A good ending without any content has no latency to tell, and is no success. */
function complete(seen: Observation): void {
  if (seen.contentMs.length === 0) throw new RequestFault("no_content", "the stream ended without content");
  seen.outcome = "completed";
}

/** Whose turn it is: two sides change places in every pair, so that neither always goes first. */
export function turns(count: number, sides: number): number[] {
  return Array.from({ length: count }, (_, pair) => {
    const order = Array.from({ length: sides }, (_, side) => side);
    return pair % 2 === 0 ? order : order.reverse();
  }).flat();
}
