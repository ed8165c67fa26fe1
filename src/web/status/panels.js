/** The table of panels: what each shows of the figures, in which unit, and where on the page. */
import { RESUMES } from "./figures.js";
import { bytes, count, duration, percent, rate } from "./units.js";

/** @typedef {import("./figures.js").Figures} Figures */
/** @typedef {import("./figures.js").Figure} Figure */
/** @typedef {import("./units.js").Unit} Unit */

/**
 * @typedef {object} Line
 * @property {string} name
 * @property {"a" | "b" | "c" | "d" | "good" | "bad"} colour
 * @property {(figures: Figures) => Figure} of
 */
/**
 * @typedef {object} Panel
 * @property {string} id
 * @property {string} group the section of the page
 * @property {string} title
 * @property {Unit} unit of the plot's axis and of each line
 * @property {number} least the plot's scale reaches at least so far: a quiet gateway is a flat line at the bottom
 * @property {(figures: Figures) => string} big the current value
 * @property {(figures: Figures) => string} note what stands beside it
 * @property {(figures: Figures) => Figure} [limit] drawn as a bar under the current value, and in the plot where it is near
 * @property {(figures: Figures) => boolean} [isBad] whether the current value is marked
 * @property {boolean} [isWide] the page puts more beside it
 * @property {readonly Line[]} lines the first is the foremost
 */

/** How long the window is over which rates and quantiles are taken. Seconds. */
export const WINDOW_S = 30;
const LATELY = `over ${WINDOW_S} s`;
/** The share of errors from which it is marked. */
const MANY_ERRORS = 0.01;

/** @param {(figures: Figures) => {p50: Figure, p95: Figure, p99: Figure}} of @returns {Line[]} */
const quantileLines = (of) => [
  { name: "p50", colour: "a", of: (figures) => of(figures).p50 },
  { name: "p95", colour: "b", of: (figures) => of(figures).p95 },
  { name: "p99", colour: "c", of: (figures) => of(figures).p99 },
];

/** @type {readonly Panel[]} */
export const PANELS = [
  {
    id: "queue",
    group: "load",
    title: "Queue",
    unit: count,
    least: 4,
    big: ({ queue }) => count(queue),
    note: ({ queueLimit }) => `of ${count(queueLimit)} places`,
    limit: ({ queueLimit }) => queueLimit,
    lines: [{ name: "waiting", colour: "a", of: ({ queue }) => queue }],
  },
  {
    id: "in-flight",
    group: "load",
    title: "In flight",
    unit: count,
    least: 4,
    big: ({ inFlight }) => count(inFlight),
    note: ({ slots }) => `of ${count(slots)} slots`,
    limit: ({ slots }) => slots,
    lines: [{ name: "upstream requests", colour: "a", of: ({ inFlight }) => inFlight }],
  },
  {
    id: "readers",
    group: "load",
    title: "Readers",
    unit: count,
    least: 4,
    big: ({ readersAll }) => count(readersAll),
    note: () => "following now",
    lines: [
      { name: "SSE", colour: "a", of: ({ readers }) => readers["sse"] ?? null },
      { name: "WebSocket", colour: "b", of: ({ readers }) => readers["websocket"] ?? null },
      { name: "JSON", colour: "c", of: ({ readers }) => readers["json"] ?? null },
    ],
  },
  {
    id: "ttft",
    group: "speed",
    title: "Time to first token",
    unit: duration,
    least: 0.01,
    big: ({ firstToken }) => duration(firstToken.p50),
    note: () => `median, ${LATELY}`,
    lines: quantileLines(({ firstToken }) => firstToken),
  },
  {
    id: "inter-token",
    group: "speed",
    title: "Inter-token latency",
    unit: duration,
    least: 0.01,
    big: ({ interToken }) => duration(interToken.p50),
    note: () => `median, ${LATELY}`,
    lines: quantileLines(({ interToken }) => interToken),
  },
  {
    id: "tokens",
    group: "speed",
    title: "Output tokens",
    unit: rate,
    least: 10,
    big: ({ tokens }) => rate(tokens),
    note: () => `a second, ${LATELY}`,
    lines: [
      { name: "tokens by usage", colour: "a", of: ({ tokens }) => tokens },
      { name: "content events", colour: "b", of: ({ events }) => events },
    ],
  },
  {
    id: "requests",
    group: "outcomes",
    title: "Requests",
    unit: rate,
    least: 1,
    isWide: true,
    big: ({ requests }) => rate(requests),
    note: () => `a second, ${LATELY}`,
    lines: [
      { name: "served", colour: "a", of: ({ groups }) => groups["served"] ?? null },
      { name: "client left", colour: "c", of: ({ groups }) => groups["left"] ?? null },
      { name: "refused", colour: "b", of: ({ groups }) => groups["refused"] ?? null },
      { name: "failed", colour: "bad", of: ({ groups }) => groups["failed"] ?? null },
      { name: "invalid", colour: "d", of: ({ groups }) => groups["invalid"] ?? null },
    ],
  },
  {
    id: "errors",
    group: "outcomes",
    title: "Error share",
    unit: percent,
    least: 0.05,
    big: ({ errorShare }) => percent(errorShare),
    note: () => `failed or refused, ${LATELY}`,
    isBad: ({ errorShare }) => (errorShare ?? 0) >= MANY_ERRORS,
    lines: [{ name: "error share", colour: "bad", of: ({ errorShare }) => errorShare }],
  },
  {
    id: "resumes",
    group: "outcomes",
    title: "Resumes",
    unit: count,
    least: 4,
    big: ({ resumesLately }) => count(resumesLately),
    note: ({ resumesEver }) => `in ${WINDOW_S} s, ${count(resumesEver)} since start`,
    lines: RESUMES.map((outcome, n) => ({
      name: { resumed: "resumed", ahead: "ahead", unknown: "unknown" }[outcome] ?? outcome,
      colour: /** @type {const} */ (["a", "b", "c"])[n] ?? "d",
      of: ({ resumes }) => resumes[outcome] ?? null,
    })),
  },
  {
    id: "lag",
    group: "process",
    title: "Event loop",
    unit: duration,
    least: 0.02,
    big: ({ lagP99 }) => duration(lagP99),
    note: () => "p99 of a 10 ms tick",
    lines: [
      { name: "p99", colour: "a", of: ({ lagP99 }) => lagP99 },
      { name: "mean", colour: "b", of: ({ lagMean }) => lagMean },
    ],
  },
  {
    id: "memory",
    group: "process",
    title: "Memory",
    unit: bytes,
    least: 100e6,
    big: ({ resident }) => bytes(resident),
    note: () => "resident",
    lines: [
      { name: "resident", colour: "a", of: ({ resident }) => resident },
      { name: "heap in use", colour: "b", of: ({ heap }) => heap },
    ],
  },
  {
    id: "cpu",
    group: "process",
    title: "Processor",
    unit: percent,
    least: 0.2,
    big: ({ cpu }) => percent(cpu),
    note: () => `of one core, ${LATELY}`,
    lines: [{ name: "processor time", colour: "a", of: ({ cpu }) => cpu }],
  },
];
