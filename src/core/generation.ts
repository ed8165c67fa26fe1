import { type ErrorCode, Fault } from "./errors.ts";
import { newId } from "./id.ts";
import { type Budget, Log } from "./log.ts";
import type {
  AttemptEnd,
  DisconnectPolicy,
  Ending,
  Observer,
  Origin,
  Outcome,
  RequestFacts,
  Status,
  Timing,
  TokenCounts,
  Transport,
} from "./ports.ts";
import { Reader } from "./reader.ts";

export interface GenerationSpec {
  readonly endpoint: string;
  readonly model: string | undefined;
  readonly stream: boolean;
  /** The name of the key that made it, or `none`: only its requests find the generation. */
  readonly owner: string;
  /** The transport of the creating request. */
  readonly transport: Transport;
  readonly policy: DisconnectPolicy;
  readonly origin?: Origin | undefined;
}

export interface GenerationPorts {
  readonly observer: Observer;
  readonly budget: Budget;
  readonly logMaxBytes: number;
  /** Milliseconds without a reader after which policy `grace` cancels. */
  readonly disconnectGraceMs: number;
}

/** The signal of what has ended. */
const OVER = AbortSignal.abort();
const nowhere = (): number | undefined => undefined;
const ignore = (): void => {};
const round = (ms: number): number => Math.round(ms * 1000) / 1000;

/** One generation: its log, its readers, its state and its one ending. Times are monotonic milliseconds. */
export class Generation {
  readonly id = newId();
  /** Unix seconds. */
  readonly created = Math.floor(Date.now() / 1000);
  readonly spec: GenerationSpec;
  readonly facts: RequestFacts;
  readonly log: Log;
  /** Resolves with the ending; never rejects. */
  readonly ended: Promise<Ending>;
  /** Headers of the upstream's answer that may be relayed. */
  answerHeaders: Readonly<Record<string, string>> = {};
  /** The upstream that answers, and how many were asked. */
  upstream = "";
  attempts = 0;
  contentEvents = 0;

  readonly #ports: GenerationPorts;
  readonly #acceptedAt = performance.now();
  #position = nowhere;
  #admittedAt: number | undefined;
  #sentAt: number | undefined;
  #firstContentAt: number | undefined;
  #firstContentSeq = 0;
  #endedAt: number | undefined;
  #readers = 0;
  #hadReader = false;
  #isForgotten = false;
  /** There is a reader whose first content still has to be timed. */
  #isFirstUntimed = false;
  #grace: NodeJS.Timeout | undefined;
  #resolveEnded: (ending: Ending) => void = ignore;
  #stop: AbortController | undefined;

  constructor(spec: GenerationSpec, ports: GenerationPorts) {
    this.spec = spec;
    const { model, transport, owner: key, origin } = spec;
    this.facts = { model, transport, key, generation: this.id, ...(origin === undefined ? {} : { origin }) };
    this.#ports = ports;
    this.log = new Log(ports.logMaxBytes, ports.budget);
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
  }

  get status(): Status {
    if (this.log.ending !== undefined) return this.log.ending.status;
    return this.#admittedAt === undefined ? "queued" : "running";
  }

  get isEnded(): boolean {
    return this.log.ending !== undefined;
  }

  /** The place in the line, 1 being next; undefined unless it is queued. */
  get position(): number | undefined {
    return this.status === "queued" ? this.#position() : undefined;
  }

  get readers(): number {
    return this.#readers;
  }

  /** True where content arrives that nobody is left to read, though it was not meant to go on without readers. */
  get isUnread(): boolean {
    return this.#readers === 0 && this.#hadReader && this.spec.policy !== "continue";
  }

  get observer(): Observer {
    return this.#ports.observer;
  }

  get timing(): Timing {
    const until = this.#endedAt ?? performance.now();
    const timing = {
      queue_ms: round((this.#admittedAt ?? until) - this.#acceptedAt),
      duration_ms: round(until - this.#acceptedAt),
    };
    if (this.#firstContentAt === undefined || this.#sentAt === undefined) return timing;
    return {
      ...timing,
      upstream_ttft_ms: round(this.#firstContentAt - this.#sentAt),
      ttft_ms: round(this.#firstContentAt - this.#acceptedAt),
    };
  }

  /** Adds a reader. Every `join` is ended by the reader's `leave`. @throws Fault `generation_not_found` when its events are gone */
  join(transport: Transport, isFirstHand: boolean): Reader {
    if (this.log.isReleased) throw new Fault("generation_not_found");
    this.#readers++;
    this.#hadReader = true;
    clearTimeout(this.#grace);
    this.#ports.observer.readerJoined(transport);
    return new Reader(this, transport, isFirstHand && this.spec.stream && this.#firstContentAt === undefined);
  }

  /** Stops it now, in every state: by a client (`cancelled`) or by the disconnect policy (`disconnected`). */
  cancel(outcome: "cancelled" | "disconnected"): void {
    this.stop("cancelled", new Fault("cancelled"), outcome);
  }

  /** Ends it before or without an upstream's ending, and gives the upstream up. */
  stop(status: "cancelled" | "failed", fault: Fault, outcome: Outcome = status): void {
    if (this.isEnded) return;
    const stop = this.#stop;
    this.#finish({ status, fault }, outcome);
    stop?.abort(fault);
  }

  // What follows is called by the gateway, the attempt and the readers.

  /** Aborts when the generation ends by anything but its upstream: the upstream's stream must be given up. */
  get stopped(): AbortSignal {
    if (this.isEnded) return OVER;
    this.#stop ??= new AbortController();
    return this.#stop.signal;
  }

  /** It waits for a slot; `position` tells where. */
  waits(position: () => number | undefined): void {
    this.#position = position;
  }

  /** The slot is granted. */
  admitted(): void {
    if (this.#admittedAt !== undefined || this.isEnded) return;
    this.#admittedAt = performance.now();
    this.#ports.observer.admitted(this.facts, this.#admittedAt - this.#acceptedAt);
    if (!this.#hadReader) this.#startGrace();
  }

  /** A request left for an upstream. */
  sent(): void {
    this.#sentAt = performance.now();
  }

  /** The first content is about to be published as event `seq`; it arrived at `at`. */
  firstContent(seq: number, at: number): void {
    this.#firstContentAt = at;
    this.#firstContentSeq = seq;
    this.#isFirstUntimed = this.#readers > 0;
    this.#ports.observer.firstContent(this.facts, at - (this.#sentAt ?? at));
  }

  /** Events up to `last` were handed to the socket of a reader that was there before the first content. */
  handed(transport: Transport, last: number): boolean {
    if (this.#firstContentAt === undefined || last < this.#firstContentSeq) return false;
    if (this.#isFirstUntimed) {
      this.#isFirstUntimed = false;
      const now = performance.now();
      const observer = this.#ports.observer;
      observer.delivered(this.facts, transport, now - this.#acceptedAt, now - this.#firstContentAt);
    }
    return true;
  }

  /** Its upstream ended it. */
  finish(end: AttemptEnd): void {
    if (this.isEnded) return;
    const code: ErrorCode | undefined = end.fault?.code;
    this.#finish(end, code === "queue_timeout" ? code : end.status);
  }

  /** A reader is gone. */
  left(): void {
    this.#readers--;
    if (this.#isForgotten) this.#letGo();
    if (this.#readers > 0 || this.isEnded) return;
    if (this.spec.policy === "cancel") this.cancel("disconnected");
    else this.#startGrace();
  }

  /** Its retention has passed: nobody finds it any more, and its log goes when the last reader has. */
  forget(): void {
    this.#isForgotten = true;
    this.#letGo();
  }

  /** Not at once: whoever found it in this turn may still join. */
  #letGo(): void {
    setImmediate(() => {
      if (this.#readers === 0) this.log.release();
    });
  }

  get phase(): "queued" | "before_first_token" | "streaming" {
    if (this.#admittedAt === undefined) return "queued";
    return this.#firstContentAt === undefined ? "before_first_token" : "streaming";
  }

  /** `cancel` works as `grace` until there was a first reader. */
  #startGrace(): void {
    if (this.spec.policy === "continue" || this.isEnded) return;
    this.#grace = setTimeout(() => this.cancel("disconnected"), this.#ports.disconnectGraceMs);
  }

  #finish(end: EndOf, outcome: Outcome): void {
    clearTimeout(this.#grace);
    this.#endedAt = performance.now();
    const ending: Ending = {
      status: end.status,
      ...(end.usage === undefined ? {} : { usage: end.usage }),
      ...(end.fault === undefined ? {} : { fault: end.fault }),
      timing: this.timing,
    };
    this.log.end(ending);
    this.#observeEnd(end, outcome, ending.timing);
    this.#resolveEnded(ending);
    this.#shed();
  }

  /** Many ended generations are kept for long: what only a running one needs is let go. */
  #shed(): void {
    this.#grace = undefined;
    this.#stop = undefined;
    this.#position = nowhere;
    this.#resolveEnded = ignore;
  }

  #observeEnd(end: EndOf, outcome: Outcome, timing: Timing): void {
    const first = this.#firstContentAt;
    this.#ports.observer.ended({
      ...this.facts,
      outcome,
      streamed: this.spec.stream,
      timing,
      ...(first === undefined ? {} : { streaming_ms: (this.#endedAt ?? first) - first }),
      ...(end.tokens === undefined ? {} : { tokens: end.tokens }),
      contentEvents: this.contentEvents,
      ...(end.fault === undefined ? {} : { code: end.fault.code, fault: end.fault }),
      ...(this.upstream === "" ? {} : { upstream: this.upstream }),
      attempts: this.attempts,
      bytes: this.log.bytes,
    });
  }
}

interface EndOf {
  readonly status: Ending["status"];
  readonly fault?: Fault;
  readonly usage?: unknown;
  readonly tokens?: TokenCounts;
}
