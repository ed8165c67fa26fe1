/**
 * The histograms. prom-client's own builds the label string anew, and turns a bucket's edge into a
 * property name, at each observation: about 1 us, where this one takes some 0.03 (`bench/observer.ts`). It has the two things that a
 * prom-client registry asks of a metric: what describes it, and `get()`.
 */

interface Value {
  readonly metricName: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

type Labels = Readonly<Record<string, string>>;
type Fault = (name: string, value: number) => void;

/** The samples of one value of the labels. */
export class Samples {
  readonly labels: Labels;
  readonly #edges: Float64Array;
  /** One count a bucket, not cumulated; the last is for what lies beyond every edge. */
  readonly #counts: Float64Array;
  readonly #fault: (value: number) => void;
  #sum = 0;

  constructor(labels: Labels, edges: Float64Array, fault: (value: number) => void) {
    this.labels = labels;
    this.#edges = edges;
    this.#counts = new Float64Array(edges.length + 1);
    this.#fault = fault;
  }

  /** Takes milliseconds. What is no duration is left out, and told. */
  observe(ms: number): void {
    const seconds = ms / 1000;
    if (!(seconds >= 0 && seconds < Number.POSITIVE_INFINITY)) {
      this.#fault(ms);
      return;
    }
    const edges = this.#edges;
    let bucket = 0;
    while (bucket < edges.length && seconds > (edges[bucket] as number)) bucket++;
    this.#counts[bucket] = (this.#counts[bucket] as number) + 1;
    this.#sum += seconds;
  }

  /** Its lines; none before its first sample. */
  values(name: string): Value[] {
    const { labels } = this;
    const values: Value[] = [];
    let count = 0;
    this.#counts.forEach((n, bucket) => {
      count += n;
      values.push({
        metricName: `${name}_bucket`,
        labels: { le: this.#edges[bucket] ?? "+Inf", ...labels },
        value: count,
      });
    });
    if (count === 0) return [];
    values.push({ metricName: `${name}_sum`, labels, value: this.#sum });
    values.push({ metricName: `${name}_count`, labels, value: count });
    return values;
  }
}

/** Between the values of labels, which have none. */
const SEPARATOR = "\0";

export class Tally {
  readonly name: string;
  readonly help: string;
  readonly type = "histogram";
  readonly aggregator = "sum";
  readonly #labelNames: readonly string[];
  readonly #edges: Float64Array;
  readonly #children = new Map<string, Samples>();
  readonly #fault: Fault;

  constructor(
    name: string,
    help: string,
    labelNames: readonly string[],
    buckets: readonly number[],
    fault: Fault,
  ) {
    this.name = name;
    this.help = help;
    this.#labelNames = labelNames;
    this.#edges = Float64Array.from(buckets);
    this.#fault = fault;
  }

  /** Always the same one for the same values. What is written for each token looks it up once and keeps it. */
  child(labels: Labels): Samples {
    let key = "";
    for (const name of this.#labelNames) key += labels[name] + SEPARATOR;
    let child = this.#children.get(key);
    if (child === undefined) {
      child = new Samples({ ...labels }, this.#edges, (value) => this.#fault(this.name, value));
      this.#children.set(key, child);
    }
    return child;
  }

  /** What prom-client's registry asks at a scrape. */
  get() {
    const values = [...this.#children.values()].flatMap((child) => child.values(this.name));
    const { name, help, type, aggregator } = this;
    return Promise.resolve({ name, help, type, aggregator, values });
  }
}
