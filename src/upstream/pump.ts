import { asFault, Fault } from "../core/errors.ts";
import type { AttemptEnd, Intake } from "../core/ports.ts";
import type { Translator } from "../dialect/dialect.ts";
import type { Body, BodySink } from "./body.ts";
import { afterRead } from "./connector.ts";
import { EVENT_CLOSING, EVENT_OPENING, EventTooLarge, looksLikeEvent, Splitter } from "./splitter.ts";
import type { Watchdog } from "./watchdog.ts";

export interface PumpLimits {
  readonly stallTimeoutMs: number;
  /** Bound on one event. */
  readonly maxEventBytes: number;
}

/** How long a stream may go on after its `[DONE]`, so that its connection can be used again. Milliseconds. */
const LINGER_MS = 1000;

/**
 * Pumps one streamed answer into the log: splits, translates, appends; ends it exactly once. Nothing here waits for a reader,
 * and no event costs a promise or a timer.
 */
export class Pump implements BodySink {
  readonly #body: Body;
  readonly #translator: Translator;
  readonly #intake: Intake;
  readonly #splitter: Splitter;
  readonly #watchdog: Watchdog;
  readonly #stallTimeoutMs: number;
  /** What one read of the socket brings is shown at once, in however many HTTP chunks it came: readers get it in one write. */
  readonly #flush = (): void => {
    this.#isFlushDue = false;
    this.#intake.flush();
  };
  #isFlushDue = false;
  #hasEnded = false;
  #linger: NodeJS.Timeout | undefined;
  #resolve: () => void = () => {};

  /** @param body the answer's stream; @param watchdog the attempt's, which waits for the first content */
  constructor(body: Body, translator: Translator, intake: Intake, watchdog: Watchdog, limits: PumpLimits) {
    this.#body = body;
    this.#translator = translator;
    this.#intake = intake;
    this.#stallTimeoutMs = limits.stallTimeoutMs;
    this.#splitter = new Splitter(limits.maxEventBytes, (bytes, start, end, isMultiline) =>
      this.#payload(bytes, start, end, isMultiline),
    );
    this.#watchdog = watchdog;
    watchdog.passTo(() => this.#stalled());
  }

  /** Runs until the stream is closed. Never rejects. */
  run(): Promise<void> {
    return new Promise((resolve) => {
      this.#resolve = resolve;
      this.#body.flow(this);
    });
  }

  /** A broken stream ends like one that just stops. */
  over(): void {
    this.#closed();
    this.#watchdog.stop();
    clearTimeout(this.#linger);
    this.#resolve();
  }

  data(bytes: Buffer, start: number, end: number): void {
    if (this.#hasEnded) return;
    try {
      if (!this.#repeats(bytes, start, end)) this.#splitter.push(bytes, start, end);
    } catch (thrown) {
      this.#end({ status: "failed", fault: faultOf(thrown) });
    }
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    afterRead(this.#flush);
  }

  /** One event like the one before it, as most reads bring: its lines need not be looked for. */
  #repeats(bytes: Buffer, start: number, end: number): boolean {
    if (!looksLikeEvent(bytes, start, end) || !this.#splitter.isBetweenEvents) return false;
    const from = start + EVENT_OPENING;
    if (!this.#translator.repeat(bytes, from, end - EVENT_CLOSING, this.#intake)) return false;
    this.#progressed();
    return true;
  }

  #payload(bytes: Buffer, start: number, end: number, isMultiline: boolean): void {
    if (this.#hasEnded) return;
    const ended = this.#translator.frame(bytes, start, end, isMultiline, this.#intake);
    if (ended !== undefined) this.#end(ended);
    else if (this.#intake.hasContent) this.#progressed();
  }

  #progressed(): void {
    this.#watchdog.extend(performance.now() + this.#stallTimeoutMs);
  }

  /** The body is over, by itself, by a fault or because it was given up. */
  #closed(): void {
    if (this.#hasEnded) return;
    this.#lastBlock();
    this.#end(this.#translator.stopped(new Fault("upstream_disconnected")));
  }

  /** What the end of the body left open counts where it is whole. */
  #lastBlock(): void {
    const intake = this.#intake;
    try {
      this.#splitter.finish((bytes, start, end, isMultiline) => {
        if (!this.#translator.isWhole(bytes.subarray(start, end))) return;
        this.#payload(bytes, start, end, isMultiline);
      });
    } catch (thrown) {
      this.#end({ status: "failed", fault: faultOf(thrown) });
    }
    intake.flush();
  }

  #stalled(): void {
    const fault = new Fault(this.#intake.hasContent ? "upstream_stalled" : "upstream_timeout");
    this.#end(this.#translator.stopped(fault));
    this.#body.destroy();
  }

  #end(end: AttemptEnd): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#watchdog.stop();
    this.#intake.end(end);
    if (end.status === "failed") this.#body.destroy();
    else this.#linger = setTimeout(() => this.#body.destroy(), LINGER_MS);
  }
}

const faultOf = (thrown: unknown): Fault =>
  thrown instanceof EventTooLarge ? new Fault("log_limit", { cause: thrown }) : asFault(thrown);
