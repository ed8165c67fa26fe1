/** One generation as it is read: over as many connections as it takes, each event once and in order, to the one ending. */
import { CANCELLED, endingOf, failed, type ToldEnding } from "./endings.ts";
import { loss, SluiceError } from "./errors.ts";
import { isOffline, pause } from "./pause.ts";
import type { Positions } from "./positions.ts";
import { textOf } from "./text.ts";
import type { Chunk, Ending, Generation, GenerationEvent, ReadOptions, Transport } from "./types.ts";

/** What starts a generation, as the wire spells it. The key makes it one, however often it is asked for. */
export interface Start {
  readonly request: object;
  readonly idempotency_key: string;
  readonly on_disconnect: string | undefined;
}

/** Reads a run on one connection. Resolves once the run is over; throws where the connection is, and what was refused. */
export type Read = (run: Run, signal: AbortSignal) => Promise<void>;

export interface RunTerms {
  readonly read: Read;
  readonly positions: Positions;
  readonly options: ReadOptions;
  readonly maxRetries: number;
  readonly maxReconnects: number;
}

/** A generation, as its connections fill it in. */
export interface Run extends Generation {
  generation: string | undefined;
  position: number;
  queue: number | undefined;
  transport: Transport | undefined;
  reconnects: number;
  /** The transport asked for. */
  wanted: "auto" | Transport | undefined;
  /** The generation is to be cancelled: each connection says so, until the ending comes. */
  isStopping?: boolean;
  /** Cancels over the connection in use, where that can. */
  cancelHere?: (() => void) | undefined;
  /** Resolves once nothing more is said to the gateway. */
  readonly followed: Promise<void>;
  /** What starts it, from now on perhaps. */
  begin(): Start;
  /** The gateway has it. */
  accept(generation: string): void;
  /** It is being read. */
  open(transport: Transport, generation: string): void;
  wait(position: number | undefined): void;
  /** @throws a loss where events are missing before it */
  event(seq: number, data: Chunk): void;
  /** @throws a loss where events are missing before it */
  end(seq: number, told: ToldEnding): void;
}

/** A connection that held for so long was a good one: what is lost after it is the first loss. Milliseconds. */
const HELD_MS = 10_000;

/** Why a turn is broken off, where the connection itself is to be dropped. */
export const RECONNECT = "reconnect";

export function beginRun(what: Start | string, after: number, terms: RunTerms): Run {
  const { read, positions, options, maxRetries, maxReconnects } = terms;
  const { signal: ownSignal, onConnection, onQueue } = options;
  const { promise: accepted, resolve: accept, reject: refuse } = Promise.withResolvers<string>();
  const { promise: ended, resolve: tellEnding } = Promise.withResolvers<Ending>();
  const events: GenerationEvent[] = [];
  const calledAt = Date.now();
  let ending: Ending | undefined;
  /** Nothing more is to be said to the gateway; the ending may have been told to the program before that. */
  let isOver = false;
  let more = Promise.withResolvers<void>();
  /** The connection in use, and the pause after it. */
  let turn = new AbortController();
  /** The gateway may have started it, whether or not its answer came. */
  let mayBeStarted = false;
  /** Whether it was known to the gateway once. */
  let wasKnown = after > 0;
  let losses = 0;
  let refusals = 0;
  let openedAt = 0;
  let firstAt = 0;
  let endedAt = 0;

  const run: Run = {
    generation: typeof what === "string" ? what : undefined,
    position: after,
    queue: undefined,
    transport: undefined,
    reconnects: 0,
    wanted: options.transport,
    accepted,
    ended,
    // A moment later: a program that leaves or cancels at once has asked for nothing.
    followed: Promise.resolve().then(follow),

    get timing() {
      return {
        ...(firstAt && { ttft_ms: firstAt - calledAt }),
        duration_ms: (endedAt || Date.now()) - calledAt,
      };
    },

    async *[Symbol.asyncIterator]() {
      for (let index = 0; ; index++) {
        while (index === events.length) {
          if (ending?.error) throw ending.error;
          if (ending) return;
          await more.promise;
        }
        yield events[index] as GenerationEvent;
      }
    },

    get textStream() {
      return {
        async *[Symbol.asyncIterator]() {
          for await (const { data } of run) {
            const text = textOf(data);
            if (text) yield text;
          }
        },
      };
    },

    async text() {
      let all = "";
      for await (const text of run.textStream) all += text;
      return all;
    },

    cancel() {
      run.isStopping = true;
      if (isOver) return ended;
      if (!mayBeStarted && !run.generation) finish(CANCELLED);
      if (run.cancelHere) run.cancelHere();
      else turn.abort();
      return ended;
    },

    leave() {
      if (isOver) return;
      finish({ status: "left" });
      turn.abort();
    },

    reconnect(transport) {
      run.wanted = transport ?? run.wanted;
      turn.abort(RECONNECT);
    },

    begin() {
      mayBeStarted = true;
      return what as Start;
    },

    accept(generation) {
      run.generation = generation;
      wasKnown = true;
      if (!isOver) positions.keep(generation, run.position);
      accept(generation);
    },

    open(transport, generation) {
      run.accept(generation);
      if (openedAt) run.reconnects++;
      openedAt = Date.now();
      refusals = 0;
      run.transport = transport;
      tell(onConnection, { transport, after: run.position });
    },

    wait(position) {
      if (position === run.queue) return;
      run.queue = position;
      losses = 0;
      tell(onQueue, position);
    },

    event(seq, data) {
      if (isOver || !take(seq)) return;
      losses = 0;
      firstAt ||= Date.now();
      run.wait(undefined);
      if (ending) return;
      positions.keep(run.generation as string, seq);
      events.push({ seq, data });
      tellMore();
    },

    end(seq, told) {
      if (isOver) return;
      // Whoever starts after the ending itself is told the ending again.
      take(seq);
      finish(endingOf(told));
    },
  };

  /** @returns false where it was taken before. @throws a loss where others are missing before it */
  function take(seq: number): boolean {
    if (seq <= run.position) return false;
    if (seq > run.position + 1) throw loss(`seq ${seq} came after ${run.position}`);
    run.position = seq;
    return true;
  }

  function tellMore(): void {
    const { resolve } = more;
    more = Promise.withResolvers();
    resolve();
  }

  async function follow(): Promise<void> {
    while (!isOver) {
      turn = new AbortController();
      const { signal } = turn;
      const thrown: unknown = await read(run, signal).catch((error: unknown) => error);
      if (run.transport && Date.now() - openedAt > HELD_MS) losses = 0;
      run.transport = run.cancelHere = undefined;
      if (isOver || signal.aborted) continue;
      const error = thrown instanceof Error ? thrown : loss("it stopped early");
      const leastMs = count(error);
      if (isOver) return;
      tell(onConnection, { transport: undefined, after: run.position, error });
      await pause(Math.max(losses, refusals), leastMs, signal);
    }
  }

  /** Counts it, and ends what went wrong too often or for good. @returns the least pause after it, if there is one */
  function count(error: Error): number | undefined {
    const { generation } = run;
    if (!(error instanceof SluiceError)) {
      if (!isOffline() && ++losses > maxReconnects)
        finish(failed("connection_lost", "The gateway could not be reached again.", error));
      return (error as ReturnType<typeof loss>).retryAfterMs;
    }
    if (!generation) mayBeStarted = false;
    if (error.code === "generation_not_found" && wasKnown)
      finish(failed("generation_lost", "The gateway no longer knows the generation.", error));
    else if (!error.isPassing || ++refusals > (generation ? maxReconnects : maxRetries))
      finish({ status: "failed", error });
    // What was to be cancelled has not even begun.
    else if (run.isStopping && !generation) finish(CANCELLED);
    return error.retryAfterMs ?? 1000;
  }

  function finish(told: Ending): void {
    isOver = true;
    const { status, error } = settle(told);
    if (run.generation && status !== "left" && error?.code !== "connection_lost")
      positions.drop(run.generation);
  }

  /** Tells the program. The first ending stands. */
  function settle(told: Ending): Ending {
    if (ending) return ending;
    ending = told;
    endedAt = Date.now();
    run.queue = undefined;
    ownSignal?.removeEventListener("abort", aborted);
    refuse(told.error ?? CANCELLED.error);
    tellEnding(told);
    tellMore();
    return told;
  }

  /** The program is told at once; the gateway as soon as it can be. */
  function aborted(): void {
    settle(CANCELLED);
    run.cancel();
  }

  // Whoever does not ask for the id learns of a refusal by the ending.
  accepted.catch(() => {});
  ownSignal?.addEventListener("abort", aborted);
  if (ownSignal?.aborted) aborted();
  return run;
}

/** What a callback throws is the program's, and must not look like a broken connection. */
function tell<Value>(callback: ((value: Value) => void) | undefined, value: Value): void {
  if (callback) queueMicrotask(() => callback(value));
}
