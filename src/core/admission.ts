import PQueue from "p-queue";
import { Fault } from "./errors.ts";
import { Line } from "./line.ts";

export interface AdmissionLimits {
  /** Leases out at once. */
  readonly maxConcurrency: number;
  /** Places in the line beyond those. */
  readonly maxQueue: number;
  /** Bytes of all waiting requests together. */
  readonly queueMaxBytes: number;
  /** Longest wait, in milliseconds. */
  readonly queueTimeoutMs: number;
}

/** The right to one upstream request, from admission until the upstream's stream has ended. */
export interface Lease {
  /** Gives the slot on. Safe to call again. */
  release(): void;
}

export interface AdmissionRequest {
  /** Bytes held while it waits. */
  readonly bytes: number;
  /** Higher goes first; 0 where nothing is said. */
  readonly priority?: number;
}

const MIN_RETRY_AFTER_S = 1;
const MAX_RETRY_AFTER_S = 30;
/** Weight of the newest sample in the running mean of how long a slot is held. */
const HOLD_WEIGHT = 0.1;

/** A place at the gate. */
export interface Place {
  /** Resolves with the lease, or rejects with the fault that ended the wait: `queue_timeout`, or what `leave` was given. */
  readonly granted: Promise<Lease>;
  /** 1 for the place that is next; undefined once it no longer waits. */
  position(): number | undefined;
  /** Gives the place up. Without effect once the lease is granted. */
  leave(fault: Fault): void;
}

/** The gate: grants leases up to a limit and keeps the others waiting in a bounded line, over p-queue. */
export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #line: Line;
  readonly #queue: PQueue<Line>;
  #waitingBytes = 0;
  #nextId = 0;
  #meanHoldMs = 1000;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
    const line = new Line();
    this.#line = line;
    this.#queue = new PQueue<Line>({
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
    return this.#queue.size;
  }

  get inFlight(): number {
    return this.#queue.pending;
  }

  /**
   * Takes a slot, or a place in the line.
   * @throws Fault `queue_full` where neither is left
   */
  enter(request: AdmissionRequest): Place {
    const mustWait = this.#queue.pending >= this.#limits.maxConcurrency || this.#queue.size > 0;
    if (mustWait) this.#checkRoom(request.bytes);
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

  /** Seconds after which a refused client may find room, from how long slots have been held of late. */
  retryAfterS(): number {
    const turns = (this.#queue.size + 1) / this.#limits.maxConcurrency;
    const seconds = Math.ceil((turns * this.#meanHoldMs) / 1000);
    return Math.min(MAX_RETRY_AFTER_S, Math.max(MIN_RETRY_AFTER_S, seconds));
  }

  #checkRoom(bytes: number): void {
    const isFull =
      this.#queue.size >= this.#limits.maxQueue || this.#waitingBytes + bytes > this.#limits.queueMaxBytes;
    if (isFull) throw new Fault("queue_full", { retryAfterS: this.retryAfterS() });
  }

  #wait(id: string, request: AdmissionRequest, waiting: AbortController): Promise<Lease> {
    this.#waitingBytes += request.bytes;
    const deadline = setTimeout(
      () => waiting.abort(new Fault("queue_timeout", { retryAfterS: this.retryAfterS() })),
      this.#limits.queueTimeoutMs,
    );
    const leaveLine = (): void => {
      clearTimeout(deadline);
      this.#waitingBytes -= request.bytes;
    };
    return new Promise<Lease>((resolve, reject) => {
      let isGranted = false;
      const hold = (): Promise<void> => {
        isGranted = true;
        leaveLine();
        return new Promise<void>((release) => resolve(this.#lease(release)));
      };
      this.#queue
        .add(hold, { id, priority: request.priority ?? 0, signal: waiting.signal })
        .catch((fault: unknown) => {
          if (isGranted) return;
          leaveLine();
          reject(fault);
        });
    });
  }

  #lease(release: () => void): Lease {
    const since = performance.now();
    let isHeld = true;
    return {
      release: () => {
        if (!isHeld) return;
        isHeld = false;
        this.#meanHoldMs += HOLD_WEIGHT * (performance.now() - since - this.#meanHoldMs);
        release();
      },
    };
  }
}
