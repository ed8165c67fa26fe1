/** Prometheus text (exposition format 0.0.4), read into samples. */

/** @typedef {{readonly labels: Readonly<Record<string, string>>, readonly value: number}} Sample */
/** @typedef {ReadonlyMap<string, readonly Sample[]>} Scrape the samples of each name, `_bucket`, `_sum` and `_count` apart */

const LINE = /^([a-zA-Z_:][\w:]*)(?:[ \t]*\{(.*)\}[ \t]*|[ \t]+)(\S+)(?:[ \t]+-?\d+)?[ \t]*$/s;
const LABEL = /[ \t]*([a-zA-Z_]\w*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*(?:,[ \t]*|$)/sy;
const ESCAPES = { "\\\\": "\\", '\\"': '"', "\\n": "\n" };
/** In any case: prom-client writes `Nan`, and Prometheus takes that. */
const WORDS = { "+inf": Number.POSITIVE_INFINITY, "-inf": Number.NEGATIVE_INFINITY, nan: Number.NaN };

/**
 * @param {string} text
 * @returns {Scrape}
 * @throws {SyntaxError} at a line that is none: half a scrape would show wrong figures
 */
export function parseExposition(text) {
  /** @type {Map<string, Sample[]>} */
  const scrape = new Map();
  for (const line of text.split("\n")) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const [, name, labels, value] = LINE.exec(line) ?? fail(line);
    const samples = scrape.get(name) ?? [];
    samples.push({ labels: labels ? labelsOf(labels, line) : {}, value: numberOf(value, line) });
    scrape.set(name, samples);
  }
  return scrape;
}

/** @param {string} text @param {string} line @returns {Record<string, string>} */
function labelsOf(text, line) {
  /** @type {Record<string, string>} */
  const labels = {};
  for (LABEL.lastIndex = 0; LABEL.lastIndex < text.length; ) {
    const [, name, value] = LABEL.exec(text) ?? fail(line);
    labels[name] = value.replace(/\\[\\"n]/g, (pair) => ESCAPES[pair]);
  }
  return labels;
}

/** @param {string} text @param {string} line @returns {number} */
function numberOf(text, line) {
  const word = text.toLowerCase();
  if (Object.hasOwn(WORDS, word)) return WORDS[word];
  const value = Number(text);
  return Number.isFinite(value) ? value : fail(line);
}

/** @param {string} line @returns {never} */
function fail(line) {
  throw new SyntaxError(`no line of Prometheus text: ${line.slice(0, 200)}`);
}

/**
 * The values of a metric, summed over all labels but one.
 * @param {Scrape} scrape @param {string} name @param {string} label
 * @param {(labels: Readonly<Record<string, string>>) => boolean} [isWanted]
 * @returns {Map<string, number>} by the value of that label; `""` where a sample has no such label
 */
export function sumBy(scrape, name, label, isWanted = () => true) {
  /** @type {Map<string, number>} */
  const sums = new Map();
  for (const { labels, value } of scrape.get(name) ?? []) {
    if (!isWanted(labels)) continue;
    const key = labels[label] ?? "";
    sums.set(key, (sums.get(key) ?? 0) + value);
  }
  return sums;
}

/**
 * The sum of a metric over all labels.
 * @param {Scrape} scrape @param {string} name
 * @returns {number | null} null where the scrape has no such metric, or one of its values is no number
 */
export function sumOf(scrape, name) {
  const samples = scrape.get(name);
  if (samples === undefined) return null;
  const sum = samples.reduce((all, { value }) => all + value, 0);
  return Number.isNaN(sum) ? null : sum;
}
