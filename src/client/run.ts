/** One generation as it is read: over as many connections as it takes, each event once and in order, to the one ending. */
import { CANCELLED, lost, pauseOf, unreachable } from "./endings.ts";
import { type ErrorObject, Loss, SluiceError } from "./errors.ts";
import { isOffline, pause } from "./pause.ts";
import type { Positions } from "./positions.ts";
import { textOf } from "./text.ts";
import type {
  Chunk,
  Connection,
  Ending,
  Generation,
  GenerationEvent,
  ReadOptions,
  Transport,
} from "./types.ts";

/** What starts a generation. The key makes it one, however often it is asked for. */
export interface Start {
  readonly request: object;
  readonly key: string;
  readonly onDisconnect: string | undefined;
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

/** An ending as the wire tells it. */
export type ToldEnding = Omit<Ending, "error"> & { readonly error?: ErrorObject };

/** A connection that held for so long was a good one: what is lost after it is the first loss. Milliseconds. */
const HELD_MS = 10_000;

export class Run implements Generation {
  readonly start: Start | undefined;
  readonly accepted: Promise<string>;
  readonly ended: Promise<Ending>;
  /** Resolves once nothing more is said to the gateway. */
  readonly followed: Promise<void>;
  generation: string | undefined;
  position: number;
  queue: number | undefined;
  transport: Transport | undefined;
  reconnects = 0;
  /** The transport asked for. */
  wanted: "auto" | Transport | undefined;
  /** The generation is to be cancelled: each connection says so, until the ending comes. */
  isStopping = false;
  /** Cancels over the connection in use, where that can. */
  cancelHere: (() => void) | undefined;
  /** The gateway may have started it, whether or not its answer came. */
  mayBeStarted = false;
  readonly #terms: RunTerms;
  readonly #accept = Promise.withResolvers<string>();
  readonly #end = Promise.withResolvers<Ending>();
  /** Every reader of this object has a cursor in it. */
  readonly #events: GenerationEvent[] = [];
  #ending: Ending | undefined;
  /** Nothing more is to be said to the gateway; the ending may have been told to the program before that. */
  #isOver = false;
  #more = Promise.withResolvers<void>();
  /** The connection in use, and the pause after it. */
  #turn = new AbortController();
  /** Whether it was known to the gateway once. */
  #wasKnown: boolean;
  #losses = 0;
  #refusals = 0;
  #openedAt = 0;
  readonly #calledAt = Date.now();
  #firstAt: number | undefined;
  #endedAt: number | undefined;

  constructor(what: Start | string, after: number, terms: RunTerms) {
    this.#terms = terms;
    this.position = after;
    this.wanted = terms.options.transport;
    this.#wasKnown = after > 0;
    this.accepted = this.#accept.promise;
    this.ended = this.#end.promise;
    // Whoever does not ask for the id learns of a refusal by the ending.
    this.accepted.catch(() => {});
    if (typeof what === "string") this.generation = what;
    else this.start = what;
    const { signal } = terms.options;
    signal?.addEventListener("abort", this.#aborted);
    if (signal?.aborted) this.#aborted();
    this.followed = this.#follow();
  }

  get timing(): { readonly ttft_ms?: number; readonly duration_ms: number } {
    const first = this.#firstAt;
    return {
      ...(first === undefined ? {} : { ttft_ms: first - this.#calledAt }),
      duration_ms: (this.#endedAt ?? Date.now()) - this.#calledAt,
    };
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<GenerationEvent, void, undefined> {
    for (let index = 0; ; index++) {
      while (index === this.#events.length) {
        if (this.#ending?.error !== undefined) throw this.#ending.error;
        if (this.#ending !== undefined) return;
        await this.#more.promise;
      }
      yield this.#events[index] as GenerationEvent;
    }
  }

  get textStream(): AsyncIterable<string> {
    const events = this as AsyncIterable<GenerationEvent>;
    return {
      async *[Symbol.asyncIterator]() {
        for await (const { data } of events) {
          const text = textOf(data);
          if (text !== "") yield text;
        }
      },
    };
  }

  async text(): Promise<string> {
    let all = "";
    for await (const text of this.textStream) all += text;
    return all;
  }

  cancel(): Promise<Ending> {
    this.isStopping = true;
    if (this.#isOver) return this.ended;
    if (!this.mayBeStarted && this.generation === undefined) this.#finish(CANCELLED);
    if (this.cancelHere !== undefined) this.cancelHere();
    else this.#turn.abort();
    return this.ended;
  }

  leave(): void {
    if (this.#isOver) return;
    this.#finish({ status: "left" });
    this.#turn.abort();
  }

  reconnect(transport?: Transport): void {
    if (transport !== undefined) this.wanted = transport;
    this.#turn.abort(RECONNECT);
  }

  /** The gateway has it. */
  accept(generation: string): void {
    this.generation = generation;
    this.#wasKnown = true;
    if (!this.#isOver) this.#terms.positions.keep(generation, this.position);
    this.#accept.resolve(generation);
  }

  /** It is being read. */
  open(transport: Transport): void {
    if (this.#openedAt > 0) this.reconnects++;
    this.#openedAt = Date.now();
    this.#refusals = 0;
    this.transport = transport;
    this.#wasKnown = true;
    this.#tellConnection({ transport, after: this.position });
  }

  wait(position: number | undefined): void {
    if (position === this.queue) return;
    this.queue = position;
    if (position !== undefined) this.#losses = 0;
    const { onQueue } = this.#terms.options;
    // What a callback throws is the program's, and must not look like a broken connection.
    if (onQueue !== undefined) queueMicrotask(() => onQueue(position));
  }

  /** @throws Loss where events are missing before it */
  event(seq: number, data: Chunk): void {
    if (this.#isOver || !this.#isNext(seq)) return;
    this.position = seq;
    this.#losses = 0;
    this.#firstAt ??= Date.now();
    this.wait(undefined);
    if (this.#ending !== undefined) return;
    this.#terms.positions.keep(this.generation as string, seq);
    this.#events.push({ seq, data });
    this.#tellMore();
  }

  /** @throws Loss where events are missing before it */
  end({ status, usage, error, timing }: ToldEnding, seq = this.position): void {
    if (this.#isOver) return;
    // Whoever starts after the ending itself is told the ending again.
    if (this.#isNext(seq)) this.position = seq;
    this.#finish({
      status,
      ...(usage === undefined ? {} : { usage }),
      ...(error === undefined ? {} : { error: new SluiceError(error) }),
      ...(timing === undefined ? {} : { timing }),
    });
  }

  #tellConnection(connection: Connection): void {
    const { onConnection } = this.#terms.options;
    if (onConnection !== undefined) queueMicrotask(() => onConnection(connection));
  }

  #isNext(seq: number): boolean {
    if (seq <= this.position) return false;
    if (seq !== this.position + 1) throw new Loss(`seq ${seq} came after ${this.position}`);
    return true;
  }

  #tellMore(): void {
    const { resolve } = this.#more;
    this.#more = Promise.withResolvers();
    resolve();
  }

  async #follow(): Promise<void> {
    while (!this.#isOver) {
      const turn = new AbortController();
      this.#turn = turn;
      const thrown = await this.#terms.read(this, turn.signal).catch((error: unknown) => error);
      this.transport = this.cancelHere = undefined;
      if (this.#isOver || turn.signal.aborted) continue;
      const error = thrown instanceof Error ? thrown : new Loss("the connection ended early");
      if (this.#isFinal(error)) return;
      this.#tellConnection({ transport: undefined, after: this.position, error });
      await pause(Math.max(this.#losses, this.#refusals), pauseOf(error), turn.signal);
    }
  }

  /** Whether that was the end of it; if not, it is counted. */
  #isFinal(error: Error): boolean {
    const { maxRetries, maxReconnects } = this.#terms;
    if (error instanceof SluiceError) {
      if (this.generation === undefined) this.mayBeStarted = false;
      const isLost = error.code === "generation_not_found" && this.#wasKnown;
      const most = this.generation === undefined ? maxRetries : maxReconnects;
      if (isLost) this.#fail(lost(error));
      else if (!error.isPassing || ++this.#refusals > most) this.#fail(error);
      // What was to be cancelled has not even begun.
      else if (this.isStopping && this.generation === undefined) this.#finish(CANCELLED);
      return this.#isOver;
    }
    if (this.#openedAt > 0 && Date.now() - this.#openedAt > HELD_MS) this.#losses = 0;
    if (!isOffline() && ++this.#losses > maxReconnects) this.#fail(unreachable(error));
    return this.#isOver;
  }

  #fail(error: SluiceError): void {
    this.#finish({ status: "failed", error });
  }

  #finish(ending: Ending): void {
    this.#isOver = true;
    this.#settle(ending);
    const { status, error } = this.#ending as Ending;
    if (this.generation !== undefined && status !== "left" && error?.code !== "connection_lost")
      this.#terms.positions.drop(this.generation);
  }

  /** Tells the program. The first ending stands. */
  #settle(ending: Ending): void {
    if (this.#ending !== undefined) return;
    this.#ending = ending;
    this.#endedAt = Date.now();
    this.queue = undefined;
    this.#terms.options.signal?.removeEventListener("abort", this.#aborted);
    this.#accept.reject(ending.error ?? CANCELLED.error);
    this.#end.resolve(ending);
    this.#tellMore();
  }

  /** The program is told at once; the gateway as soon as it can be. */
  readonly #aborted = (): void => {
    this.#settle(CANCELLED);
    void this.cancel();
  };
}

/** Why a turn is broken off, where the connection itself is to be dropped. */
export const RECONNECT = "reconnect";
