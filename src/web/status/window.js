/** A sliding window over scrapes: how much each counter grew in the last seconds, and quantiles of what was observed in them. */

/** @typedef {ReadonlyMap<string, number>} Counters by the value of a label; a histogram's buckets by their edge (`le`) */
/**
 * What the window needs of one scrape.
 * @typedef {object} Reading
 * @property {number} at monotonic seconds
 * @property {number | null} startedAt when the process started, as it says
 * @property {Readonly<Record<string, Counters>>} counters
 */
/** @typedef {{readonly from: number, readonly to: number, readonly growth: Readonly<Record<string, Counters>>}} Step */

export class SlidingWindow {
  #seconds;
  #longestStep;
  /** @type {Step[]} */
  #steps = [];
  /** @type {Reading | null} */
  #last = null;

  /**
   * @param {number} seconds its length
   * @param {number} longestStep in seconds: two readings further apart tell nothing of the last few seconds, and the window
   *   begins anew
   */
  constructor(seconds, longestStep) {
    this.#seconds = seconds;
    this.#longestStep = longestStep;
  }

  /** @param {Reading} reading later than those before */
  add(reading) {
    const last = this.#last;
    this.#last = reading;
    if (last === null) return;
    if (reading.at - last.at > this.#longestStep) this.#steps = [];
    else this.#steps.push({ from: last.at, to: reading.at, growth: growthOf(last, reading) });
    this.#steps = this.#steps.filter(({ to }) => to > reading.at - this.#seconds);
  }

  /** How much time the window holds now, in seconds; 0 before the second reading. */
  get seconds() {
    return this.#steps.reduce((sum, { from, to }) => sum + to - from, 0);
  }

  /** @param {string} name @returns {Map<string, number>} */
  growth(name) {
    /** @type {Map<string, number>} */
    const sums = new Map();
    for (const { growth } of this.#steps) {
      for (const [key, value] of growth[name] ?? []) sums.set(key, (sums.get(key) ?? 0) + value);
    }
    return sums;
  }

  /**
   * Growth a second of all that `name` counts, or of those keys alone.
   * @param {string} name @param {readonly string[]} [keys]
   * @returns {number | null} null before there are two readings
   */
  rate(name, keys) {
    const { seconds } = this;
    return seconds > 0 ? this.total(name, keys) / seconds : null;
  }

  /** @param {string} name @param {readonly string[]} [keys] */
  total(name, keys) {
    const growth = this.growth(name);
    return (keys ?? [...growth.keys()]).reduce((sum, key) => sum + (growth.get(key) ?? 0), 0);
  }

  /** @param {string} name of a histogram @param {number} q @returns {number | null} null where nothing was observed */
  quantile(name, q) {
    return quantile(this.growth(name), q);
  }
}

/** @param {Reading} earlier @param {Reading} later */
function growthOf(earlier, later) {
  const isNew = hasRestarted(earlier, later);
  /** @type {Record<string, Counters>} */
  const growth = {};
  for (const [name, counters] of Object.entries(later.counters)) {
    const before = isNew ? undefined : earlier.counters[name];
    growth[name] = new Map([...counters].map(([key, value]) => [key, value - (before?.get(key) ?? 0)]));
  }
  return growth;
}

/** Counters of a new process begin at 0: all that they say is growth. @param {Reading} earlier @param {Reading} later */
function hasRestarted(earlier, later) {
  if (earlier.startedAt !== later.startedAt) return true;
  return Object.entries(earlier.counters).some(([name, counters]) =>
    [...counters].some(([key, value]) => (later.counters[name]?.get(key) ?? 0) < value),
  );
}

/**
 * The quantile as Prometheus' `histogram_quantile` estimates it: observations lie evenly in their bucket, the first of which
 * begins at 0; beyond the last edge the answer is that edge.
 * @param {Counters} buckets cumulated counts by edge, `+Inf` among them
 * @param {number} q from 0 to 1
 * @returns {number | null} null where nothing was observed
 */
export function quantile(buckets, q) {
  const sorted = [...buckets]
    .map(([le, count]) => ({ edge: le === "+Inf" ? Number.POSITIVE_INFINITY : Number(le), count }))
    .sort((a, b) => a.edge - b.edge);
  const all = sorted.at(-1)?.count ?? 0;
  if (all <= 0) return null;
  const rank = q * all;
  const at = sorted.findIndex(({ count }) => count >= rank && count > 0);
  const { edge, count } = sorted[at];
  const { edge: from, count: below } = sorted[at - 1] ?? { edge: 0, count: 0 };
  if (edge === Number.POSITIVE_INFINITY) return from;
  return from + ((edge - from) * (rank - below)) / (count - below);
}
