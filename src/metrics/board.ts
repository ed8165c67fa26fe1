/**
 * The one file that knows prom-client (its successor is `@prometheus-io/client`). A board makes instruments that take
 * milliseconds, want every label, and do not throw: prom-client throws at a value that is no number or that goes down, and an
 * observer must never break a stream. Such a value is left out, and told once a metric.
 */
import { Counter, collectDefaultMetrics, Gauge, Registry } from "prom-client";
import { Tally } from "./tally.ts";

const PREFIX = "sluice_";

export type Labels<L extends string> = Readonly<Record<L, string>>;

export interface Count<L extends string> {
  /** Adds `by` (a whole number; 1 where not given; 0 makes the series). */
  add(labels: Labels<L>, by?: number): void;
}

export interface Level<L extends string> {
  /** Goes up, or down by a negative number. */
  move(labels: Labels<L>, by: number): void;
}

export interface Durations<L extends string> {
  /** Takes milliseconds; the histogram is in seconds. */
  observe(labels: Labels<L>, ms: number): void;
}

export class Board {
  readonly #registry = new Registry();
  readonly #told = new Set<string>();
  readonly #onFault: (fault: Error) => void;

  constructor(onFault: (fault: Error) => void) {
    this.#onFault = onFault;
  }

  counter<L extends string>(name: string, help: string, labelNames: readonly L[]): Count<L> {
    const counter = new Counter<L>(this.#describe(name, help, labelNames));
    return {
      add: (labels, by = 1) => {
        if (Number.isSafeInteger(by) && by >= 0) counter.inc(labels, by);
        else this.#fault(PREFIX + name, by);
      },
    };
  }

  gauge<L extends string>(name: string, help: string, labelNames: readonly L[]): Level<L> {
    const gauge = new Gauge<L>(this.#describe(name, help, labelNames));
    return { move: (labels, by) => gauge.inc(labels, by) };
  }

  /** A gauge that is read when it is scraped. */
  reading(name: string, help: string, read: () => number): void {
    new Gauge({
      ...this.#describe(name, help, []),
      collect() {
        this.set(read());
      },
    });
  }

  /** A gauge for each value of one label, read when it is scraped. */
  readings<L extends string>(
    name: string,
    help: string,
    labelName: L,
    values: readonly string[],
    read: (value: string) => number,
  ): void {
    new Gauge<L>({
      ...this.#describe(name, help, [labelName]),
      collect() {
        for (const value of values) this.labels(value).set(read(value));
      },
    });
  }

  histogram<L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[],
    buckets: readonly number[],
  ): Durations<L> {
    const tally = this.tally(name, help, labelNames, buckets);
    return { observe: (labels, ms) => tally.child(labels).observe(ms) };
  }

  /** A histogram whose children are kept by who writes them, once a token. */
  tally(name: string, help: string, labelNames: readonly string[], buckets: readonly number[]): Tally {
    const tally = new Tally(PREFIX + name, help, labelNames, buckets, (full, value) =>
      this.#fault(full, value),
    );
    // The registry only describes it and calls get(); its type names the library's own classes.
    this.#registry.registerMetric(tally as unknown as Gauge);
    return tally;
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Prometheus text, and no other format: one OpenMetrics render would rename the counters of later ones for good. */
  async render(): Promise<string> {
    const texts = await Promise.all([this.#registry.metrics(), processRegistry().metrics()]);
    return texts.join("\n");
  }

  close(): void {
    this.#registry.clear();
  }

  #describe<L extends string>(name: string, help: string, labelNames: readonly L[]) {
    return { name: PREFIX + name, help, labelNames, registers: [this.#registry] };
  }

  #fault(name: string, value: number): void {
    if (this.#told.has(name)) return;
    this.#told.add(name);
    this.#onFault(new RangeError(`${name} was given ${value}; it and later ones like it are left out`));
  }
}

/** These gauges end in `_total`, which is for counters: `promtool check metrics` refuses them. */
const MISNAMED = [
  "nodejs_active_handles_total",
  "nodejs_active_requests_total",
  "nodejs_active_resources_total",
];

let ofProcess: Registry | undefined;

/**
 * prom-client's default metrics, once a process whatever the number of boards: they tell of the process, and the observers that
 * the library starts for them (of garbage collection, of the event loop) cannot be stopped again.
 */
function processRegistry(): Registry {
  if (ofProcess === undefined) {
    ofProcess = new Registry();
    collectDefaultMetrics({ register: ofProcess });
    for (const name of MISNAMED) ofProcess.removeSingleMetric(name);
  }
  return ofProcess;
}

/** Begins to watch the process, so that the first scrape already has something to tell. */
export function watchProcess(): void {
  processRegistry();
}
