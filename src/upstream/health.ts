import {
  BrokenCircuitError,
  type CircuitBreakerPolicy,
  CircuitState,
  ConsecutiveBreaker,
  circuitBreaker,
  handleType,
} from "cockatiel";
import { Fault } from "../core/errors.ts";

/** Failures in a row that open the breaker. */
const FAILURES = 5;
/** How long it stays open before one request tries again, where nothing else is said. Milliseconds. */
const OPEN_MS = 10_000;
/** A pause that the upstream asks for is kept, up to here. Seconds. */
const MAX_PAUSE_S = 30;

/** An attempt that says nothing about the upstream. */
class Neutral extends Error {}

/**
 * Whether an upstream is worth asking first: a circuit breaker over its last attempts, and the pause that it asked for with
 * `Retry-After` (RFC 9110, section 10.2.3).
 */
export class Health {
  readonly #breaker: CircuitBreakerPolicy;
  readonly #onChange: (state: "failing" | "well") => void;
  #isFailing = false;
  #openUntil = 0;
  #pausedUntil = 0;

  /**
   * @param openMs how long the breaker stays open before one request tries again
   * @param onChange told when it opens, and when a request that tried has closed it again; not of trials that failed
   */
  constructor(openMs = OPEN_MS, onChange: (state: "failing" | "well") => void = () => {}) {
    this.#onChange = onChange;
    this.#breaker = circuitBreaker(handleType(Fault), {
      breaker: new ConsecutiveBreaker(FAILURES),
      halfOpenAfter: openMs,
    });
    this.#breaker.onBreak(() => {
      this.#openUntil = performance.now() + openMs;
      this.#tell(true);
    });
    this.#breaker.onReset(() => this.#tell(false));
  }

  #tell(isFailing: boolean): void {
    if (isFailing === this.#isFailing) return;
    this.#isFailing = isFailing;
    this.#onChange(isFailing ? "failing" : "well");
  }

  /** Open, it is well again for the one request that tries. */
  get isWell(): boolean {
    const now = performance.now();
    if (now < this.#pausedUntil) return false;
    const { state } = this.#breaker;
    return state === CircuitState.Closed || (state === CircuitState.Open && now >= this.#openUntil);
  }

  /** Follows an attempt: `settled` resolves with its fault, or with none where the upstream serves. */
  follow(settled: Promise<Fault | undefined>, signal: AbortSignal): void {
    const outcome = async (): Promise<void> => {
      const fault = await settled;
      if (signal.aborted) throw this.#gaveUp();
      if (fault !== undefined && isUpstreams(fault)) throw fault;
    };
    this.#breaker.execute(outcome).catch((thrown: unknown) => {
      const isKnown =
        thrown instanceof Fault || thrown instanceof Neutral || thrown instanceof BrokenCircuitError;
      if (!isKnown) throw thrown;
    });
  }

  /** A trial that was given up has proved nothing: the breaker stays open. */
  #gaveUp(): Error {
    return this.#breaker.state === CircuitState.HalfOpen ? new Fault("cancelled") : new Neutral();
  }

  /** The upstream asked to be left alone for so many seconds. */
  pause(seconds: number): void {
    if (!(seconds > 0)) return;
    this.#pausedUntil = performance.now() + Math.min(seconds, MAX_PAUSE_S) * 1000;
  }
}

/** A request that the upstream refuses as the client's fault is no sign of ill health. */
const isUpstreams = (fault: Fault): boolean => fault.said?.status === undefined && fault.code !== "log_limit";
