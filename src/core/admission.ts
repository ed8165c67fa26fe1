import PQueue from "p-queue";
import { Fault } from "./errors.ts";
import { Line, type PlaceOptions, type Run } from "./line.ts";

export interface AdmissionLimits {
  /** Leases out at once. */
  readonly maxConcurrency: number;
  /** Places in the line beyond those. */
  readonly maxQueue: number;
  /** Bytes of all waiting requests together. */
  readonly queueMaxBytes: number;
  /** Longest wait, in milliseconds. */
  readonly queueTimeoutMs: number;
  /** The same two limits for each key. */
  readonly keyMaxConcurrency?: number;
  readonly keyMaxQueue?: number;
}

/** What a lease may be for: an upstream, and how many of its leases may be out at once. */
export interface Target {
  readonly name: string;
  readonly maxConcurrency?: number | undefined;
}

/** The right to one upstream request, from admission until the upstream's stream has ended. */
export interface Lease<T extends Target> {
  readonly target: T;
  /** Gives the slot on. Safe to call again. */
  release(): void;
}

export interface AdmissionRequest<T extends Target> {
  /** Whose limits and turns it counts against. */
  readonly key: string;
  /** Bytes held while it waits. */
  readonly bytes: number;
  /** Higher goes first; 0 where nothing is said. */
  readonly priority?: number;
  /** What it may be granted for, in order of preference; asked when a slot is free. The first with room is taken. */
  readonly targets: () => readonly T[];
}

/** A place at the gate. */
export interface Place<T extends Target> {
  /** Where it did not have to wait: the lease, there at once. */
  readonly lease?: Lease<T> | undefined;
  /** Resolves with the lease, or rejects with the fault that ended the wait: `queue_timeout`, or what `leave` was given. */
  readonly granted: Promise<Lease<T>>;
  /** 1 for the place that is next; undefined once it no longer waits. */
  position(): number | undefined;
  /** Gives the place up. Without effect once the lease is granted. */
  leave(fault: Fault): void;
}

const MIN_RETRY_AFTER_S = 1;
const MAX_RETRY_AFTER_S = 30;
/** Weight of the newest sample in the running mean of how long a slot is held. */
const HOLD_WEIGHT = 0.1;

/**
 * The gate: grants leases within the limits of the whole, of each upstream and of each key, and keeps the others waiting in a
 * bounded line. One scheduler, p-queue, chooses what runs next; the line tells it what may.
 */
export class Admission<T extends Target = Target> {
  readonly #limits: AdmissionLimits;
  readonly #line = new Line();
  readonly #queue: Quiet;
  /** Leases out, by key and by target. */
  readonly #byKey = new Map<string, number>();
  readonly #byTarget = new Map<string, number>();
  /** Leases out, all together. */
  #out = 0;
  #waitingBytes = 0;
  #nextId = 0;
  #meanHoldMs = 1000;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
    const line = this.#line;
    this.#queue = new Quiet({
      concurrency: limits.maxConcurrency,
      // p-queue makes its own queue; this hands it ours, whose positions we can read.
      queueClass: class {
        constructor() {
          // biome-ignore lint/correctness/noConstructorReturn: the one way to give p-queue an instance
          return line;
        }
      } as unknown as new () => Line,
    });
  }

  get depth(): number {
    return this.#line.depth;
  }

  get inFlight(): number {
    return this.#queue.pending;
  }

  /**
   * Takes a slot, or a place in the line.
   * @throws Fault `queue_full` or, at the key's own limit, `rate_limited` where neither is left
   */
  enter(request: AdmissionRequest<T>): Place<T> {
    const mustWait = this.#mustWait(request);
    if (mustWait) this.#checkRoom(request);
    // p-queue learns a moment later of a slot that was given back.
    if (!mustWait && this.#queue.pending < this.#limits.maxConcurrency) return this.#enterAtOnce(request);
    const id = String(this.#nextId++);
    const waiting = new AbortController();
    return {
      granted: this.#wait(id, request, waiting),
      position: () => this.#line.position(id),
      leave: (fault) => {
        // p-queue watches the signal of a running task too, and would free its slot while the upstream still streams.
        if (this.#line.position(id) !== undefined) waiting.abort(fault);
      },
    };
  }

  /** A slot is free and nobody stands before it: p-queue starts it within the call, so that it needs no deadline and no signal. */
  #enterAtOnce(request: AdmissionRequest<T>): Place<T> {
    let lease: Lease<T> | undefined;
    const granted = new Promise<Lease<T>>((resolve, reject) => {
      const hold: Run = () =>
        new Promise<void>((release) => {
          lease = this.#lease(request, release);
          resolve(lease);
        });
      this.#queue.add(hold, { key: request.key }).catch(reject);
    });
    return { lease, granted, position: () => undefined, leave: () => {} };
  }

  /** Seconds after which a refused client may find room, from how long slots have been held of late. */
  retryAfterS(): number {
    const turns = (this.#line.depth + 1) / this.#limits.maxConcurrency;
    const seconds = Math.ceil((turns * this.#meanHoldMs) / 1000);
    return Math.min(MAX_RETRY_AFTER_S, Math.max(MIN_RETRY_AFTER_S, seconds));
  }

  #mustWait(request: AdmissionRequest<T>): boolean {
    return this.#out >= this.#limits.maxConcurrency || this.#line.size > 0 || !this.#canStart(request);
  }

  /**
   * How many leave the line now: there are slots given back that p-queue, which learns of it a moment later, has not handed on
   * yet, and places that may take them.
   */
  get #freed(): number {
    return Math.min(this.#queue.pending - this.#out, this.#line.startable);
  }

  #checkRoom({ bytes, key }: AdmissionRequest<T>): void {
    const { maxQueue, queueMaxBytes, keyMaxQueue = Number.POSITIVE_INFINITY } = this.#limits;
    if (this.#line.depth >= maxQueue + this.#freed || this.#waitingBytes + bytes > queueMaxBytes) {
      throw new Fault("queue_full", { retryAfterS: this.retryAfterS() });
    }
    if (this.#line.depthOf(key) >= keyMaxQueue + this.#freed)
      throw new Fault("rate_limited", { retryAfterS: this.retryAfterS() });
  }

  /** Whether anything but the limit of the whole can hold it up: a key's, or those of all its targets. */
  #isLimited(request: AdmissionRequest<T>): boolean {
    const isUnlimited = ({ maxConcurrency }: Target): boolean => maxConcurrency === undefined;
    return this.#limits.keyMaxConcurrency !== undefined || !request.targets().some(isUnlimited);
  }

  #canStart(request: AdmissionRequest<T>): boolean {
    const { keyMaxConcurrency = Number.POSITIVE_INFINITY } = this.#limits;
    return (this.#byKey.get(request.key) ?? 0) < keyMaxConcurrency && this.#choose(request) !== undefined;
  }

  #choose(request: AdmissionRequest<T>): T | undefined {
    return request
      .targets()
      .find(
        ({ name, maxConcurrency }) =>
          (this.#byTarget.get(name) ?? 0) < (maxConcurrency ?? Number.POSITIVE_INFINITY),
      );
  }

  #wait(id: string, request: AdmissionRequest<T>, waiting: AbortController): Promise<Lease<T>> {
    this.#waitingBytes += request.bytes;
    const deadline = setTimeout(
      () => waiting.abort(new Fault("queue_timeout", { retryAfterS: this.retryAfterS() })),
      this.#limits.queueTimeoutMs,
    );
    const leaveLine = (): void => {
      clearTimeout(deadline);
      this.#waitingBytes -= request.bytes;
    };
    const place = {
      id,
      key: request.key,
      priority: request.priority ?? 0,
      ...(this.#isLimited(request) ? { canStart: () => this.#canStart(request) } : {}),
      signal: waiting.signal,
    };
    return new Promise<Lease<T>>((resolve, reject) => {
      let isGranted = false;
      const hold: Run = () => {
        isGranted = true;
        leaveLine();
        return new Promise<void>((release) => resolve(this.#lease(request, release)));
      };
      this.#queue.add(hold, place).catch((fault: unknown) => {
        if (isGranted) return;
        leaveLine();
        reject(fault);
      });
    });
  }

  #lease(request: AdmissionRequest<T>, release: () => void): Lease<T> {
    const target = this.#choose(request);
    if (target === undefined) throw new Error("granted a lease that has no room");
    this.#out++;
    count(this.#byKey, request.key, 1);
    count(this.#byTarget, target.name, 1);
    const since = performance.now();
    let isHeld = true;
    return {
      target,
      release: () => {
        if (!isHeld) return;
        isHeld = false;
        this.#out--;
        count(this.#byKey, request.key, -1);
        count(this.#byTarget, target.name, -1);
        this.#meanHoldMs += HOLD_WEIGHT * (performance.now() - since - this.#meanHoldMs);
        release();
      },
    };
  }
}

/** p-queue makes and sends some five events for each task. Nobody listens here. */
class Quiet extends PQueue<Line, PlaceOptions & { signal?: AbortSignal }> {
  override dispatchEvent(): boolean {
    return true;
  }
}

/** Adds to a count, and forgets it at 0. */
function count(counts: Map<string, number>, name: string, by: number): void {
  const now = (counts.get(name) ?? 0) + by;
  if (now === 0) counts.delete(name);
  else counts.set(name, now);
}
