/** Looks at the gateway from outside: its own figures, and what the system says of its process. */
import { readdirSync } from "node:fs";

export interface Sample {
  /** Since the load began. */
  readonly seconds: number;
  readonly rssMb: number;
  /** The lowest of the looks since the sample before: what is left after a collection. */
  readonly heapMb: number;
  readonly fds: number;
  readonly resources: number;
  readonly readers: number;
  readonly active: number;
  readonly retained: number;
  readonly queued: number;
  readonly lagMs: number;
  /** Of one processor, since the sample before. */
  readonly cpu: number;
  readonly done: number;
}

const MB = 1_048_576;
const LOOK_MS = 2000;
const LOOKS = 5;

export type Figures = (name: string, labels?: string) => number;

export async function scrape(url: string): Promise<Figures> {
  const lines = (await (await fetch(`${url}/metrics`)).text()).split("\n");
  return (name, labels = "") =>
    lines
      .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
      .filter((line) => line.includes(labels))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
}

/** Open file descriptors; -1 where the system does not tell. */
export function openFiles(pid: number | undefined): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return -1;
  }
}

export class Sampler {
  readonly samples: Sample[] = [];
  readonly #url: string;
  readonly #pid: number | undefined;
  readonly #done: () => number;
  readonly #began = performance.now();
  readonly #timer: NodeJS.Timeout;
  #looks = 0;
  #lowest = Number.POSITIVE_INFINITY;
  #lag = 0;
  #cpu: number | undefined;
  #at = performance.now();
  readonly #onSample: (sample: Sample) => void;

  constructor(url: string, pid: number | undefined, done: () => number, onSample: (sample: Sample) => void) {
    this.#url = url;
    this.#pid = pid;
    this.#done = done;
    this.#onSample = onSample;
    this.#timer = setInterval(() => void this.#look().catch(() => {}), LOOK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    const figures = await scrape(this.#url);
    this.#lowest = Math.min(this.#lowest, figures("nodejs_heap_size_used_bytes") / MB);
    this.#lag = Math.max(this.#lag, figures("nodejs_eventloop_lag_p99_seconds") * 1000);
    if (++this.#looks % LOOKS !== 0) return;
    const now = performance.now();
    const cpu = figures("process_cpu_seconds_total");
    const sample = {
      seconds: Math.round((now - this.#began) / 1000),
      rssMb: figures("process_resident_memory_bytes") / MB,
      heapMb: this.#lowest,
      fds: openFiles(this.#pid),
      resources: figures("nodejs_active_resources"),
      readers: figures("sluice_readers"),
      active: figures("sluice_generations_active"),
      retained: figures("sluice_generations_retained"),
      queued: figures("sluice_queue_depth"),
      lagMs: this.#lag,
      cpu: this.#cpu === undefined ? 0 : ((cpu - this.#cpu) * 1000) / (now - this.#at),
      done: this.#done(),
    };
    [this.#cpu, this.#at, this.#lowest, this.#lag] = [cpu, now, Number.POSITIVE_INFINITY, 0];
    this.samples.push(sample);
    this.#onSample(sample);
  }
}

export interface Trend {
  readonly mean: number;
  /** What the line through the values rises by, from the window's start to its end. */
  readonly rise: number;
  /** The rise as a share of the mean. */
  readonly share: number;
}

/** Least squares over points at equal distances. */
export function trend(values: readonly number[]): Trend {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const middle = (values.length - 1) / 2;
  let [above, below] = [0, 0];
  for (const [index, value] of values.entries()) {
    above += (index - middle) * (value - mean);
    below += (index - middle) ** 2;
  }
  const rise = below === 0 ? 0 : (above / below) * (values.length - 1);
  return { mean, rise, share: rise / mean };
}

/** The lowest of each minute: what a collection leaves, without the teeth of the saw. */
export function floors(samples: readonly Sample[], of: (sample: Sample) => number): number[] {
  const byMinute = new Map<number, number>();
  for (const sample of samples) {
    const minute = Math.floor(sample.seconds / 60);
    byMinute.set(minute, Math.min(byMinute.get(minute) ?? Number.POSITIVE_INFINITY, of(sample)));
  }
  return [...byMinute.values()];
}
