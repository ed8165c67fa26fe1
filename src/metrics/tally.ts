/**
 * A histogram for what happens once a token. prom-client's own builds the label string anew, and turns a bucket's edge into a
 * property name, at each observation: about 1 us, where this one takes some 0.03 (`bench/observer.ts`). It has the two things that a
 * prom-client registry asks of a metric: what describes it, and `get()`.
 */

interface Value {
  readonly metricName: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

type Fault = (name: string, value: number) => void;

/** The samples of one label value. */
export class Samples {
  readonly label: string;
  readonly #edges: Float64Array;
  /** One count a bucket, not cumulated; the last is for what lies beyond every edge. */
  readonly #counts: Float64Array;
  readonly #fault: (value: number) => void;
  #sum = 0;

  constructor(label: string, edges: Float64Array, fault: (value: number) => void) {
    this.label = label;
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

  /** The lines of this label value; none before its first sample. */
  values(name: string, labelName: string): Value[] {
    const labels = { [labelName]: this.label };
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

/** A histogram with one label. */
export class Tally {
  readonly name: string;
  readonly help: string;
  readonly type = "histogram";
  readonly aggregator = "sum";
  readonly #labelName: string;
  readonly #edges: Float64Array;
  readonly #children = new Map<string, Samples>();
  readonly #fault: Fault;

  constructor(name: string, help: string, labelName: string, buckets: readonly number[], fault: Fault) {
    this.name = name;
    this.help = help;
    this.#labelName = labelName;
    this.#edges = Float64Array.from(buckets);
    this.#fault = fault;
  }

  /** Always the same one for the same label value: look it up once and keep it. */
  child(label: string): Samples {
    let child = this.#children.get(label);
    if (child === undefined) {
      child = new Samples(label, this.#edges, (value) => this.#fault(this.name, value));
      this.#children.set(label, child);
    }
    return child;
  }

  /** What prom-client's registry asks at a scrape. */
  get() {
    const values = [...this.#children.values()].flatMap((child) => child.values(this.name, this.#labelName));
    const { name, help, type, aggregator } = this;
    return Promise.resolve({ name, help, type, aggregator, values });
  }
}
