/** What the status page shows, computed from scrapes of `/metrics` (PROTOCOL.md, section 8). Times are seconds. */
import { sumBy, sumOf } from "./exposition.js";

/** @typedef {import("./exposition.js").Scrape} Scrape */
/** @typedef {import("./window.js").Reading} Reading */
/** @typedef {import("./window.js").SlidingWindow} SlidingWindow */
/** @typedef {number | null} Figure null where there is none */

/** Every outcome of `sluice_requests_total`, by what it means for whoever runs the gateway. */
export const OUTCOMES = {
  served: ["completed", "incomplete", "attached"],
  left: ["cancelled", "disconnected"],
  refused: ["queue_full", "queue_timeout", "overloaded", "draining"],
  failed: ["failed"],
  invalid: ["invalid", "unauthorized"],
};
export const TRANSPORTS = ["sse", "websocket", "json"];
export const RESUMES = ["resumed", "ahead", "unknown"];

/**
 * What grows, for the window.
 * @param {Scrape} scrape @param {number} at monotonic seconds
 * @returns {Reading}
 */
export function readingOf(scrape, at) {
  const histogram = (name) => sumBy(scrape, `${name}_bucket`, "le");
  return {
    at,
    startedAt: sumOf(scrape, "process_start_time_seconds"),
    counters: {
      requests: sumBy(scrape, "sluice_requests_total", "outcome"),
      resumes: sumBy(scrape, "sluice_resumes_total", "outcome"),
      tokens: sumBy(scrape, "sluice_tokens_total", "type"),
      firstToken: histogram("sluice_time_to_first_token_seconds"),
      interToken: histogram("sluice_inter_token_latency_seconds"),
      // One gap for each content event but the first of a generation, which these count.
      events: new Map([
        ["gaps", sumOf(scrape, "sluice_inter_token_latency_seconds_count") ?? 0],
        ["firsts", sumOf(scrape, "sluice_upstream_time_to_first_token_seconds_count") ?? 0],
      ]),
      cpu: new Map([["all", sumOf(scrape, "process_cpu_seconds_total") ?? 0]]),
    },
  };
}

/**
 * @typedef {ReturnType<typeof figuresOf>} Figures
 */

/** @param {Scrape} scrape the latest @param {SlidingWindow} window which holds it */
export function figuresOf(scrape, window) {
  return {
    ...levelsOf(scrape),
    ...speedsOf(window),
    ...outcomesOf(scrape, window),
    ...processOf(scrape, window),
  };
}

/** @param {Scrape} scrape */
function levelsOf(scrape) {
  const readers = sumBy(scrape, "sluice_readers", "transport");
  const upstreams = sumBy(scrape, "sluice_upstream_available", "upstream");
  return {
    queue: sumOf(scrape, "sluice_queue_depth"),
    queueLimit: sumOf(scrape, "sluice_queue_limit"),
    inFlight: sumOf(scrape, "sluice_upstream_in_flight"),
    slots: sumOf(scrape, "sluice_upstream_concurrency_limit"),
    readersAll: sumOf(scrape, "sluice_readers"),
    readers: Object.fromEntries(TRANSPORTS.map((transport) => [transport, readers.get(transport) ?? 0])),
    active: sumOf(scrape, "sluice_generations_active"),
    retained: sumOf(scrape, "sluice_generations_retained"),
    retainedBytes: sumOf(scrape, "sluice_retained_bytes"),
    upstreams: upstreams.size,
    upstreamsAvailable: sumOf(scrape, "sluice_upstream_available"),
    sockets: sumOf(scrape, "sluice_websocket_connections"),
    isDraining: sumOf(scrape, "sluice_draining") === 1,
  };
}

/** @param {SlidingWindow} window */
function speedsOf(window) {
  const quantiles = (name) => ({
    p50: window.quantile(name, 0.5),
    p95: window.quantile(name, 0.95),
    p99: window.quantile(name, 0.99),
  });
  return {
    firstToken: quantiles("firstToken"),
    interToken: quantiles("interToken"),
    tokens: window.rate("tokens", ["output"]),
    events: window.rate("events"),
  };
}

/** @param {Scrape} scrape @param {SlidingWindow} window */
function outcomesOf(scrape, window) {
  const ever = sumBy(scrape, "sluice_requests_total", "outcome");
  const resumes = sumBy(scrape, "sluice_resumes_total", "outcome");
  const growth = window.growth("requests");
  const all = window.total("requests");
  const bad = window.total("requests", [...OUTCOMES.refused, ...OUTCOMES.failed]);
  return {
    requests: window.rate("requests"),
    requestsEver: [...ever.values()].reduce((sum, value) => sum + value, 0),
    /** @type {Record<string, Figure>} */
    groups: Object.fromEntries(
      Object.entries(OUTCOMES).map(([group, outcomes]) => [group, window.rate("requests", outcomes)]),
    ),
    outcomes: [...ever].map(([outcome, total]) => ({ outcome, total, lately: growth.get(outcome) ?? 0 })),
    /** @type {Figure} */
    errorShare: all > 0 ? bad / all : null,
    /** @type {Figure} */
    resumesLately: window.seconds > 0 ? window.total("resumes") : null,
    /** @type {Record<string, Figure>} */
    resumes: Object.fromEntries(RESUMES.map((outcome) => [outcome, windowed(window, "resumes", outcome)])),
    resumesEver: [...resumes.values()].reduce((sum, value) => sum + value, 0),
  };
}

/** @param {SlidingWindow} window @param {string} name @param {string} key @returns {Figure} */
const windowed = (window, name, key) => (window.seconds > 0 ? window.total(name, [key]) : null);

/** @param {Scrape} scrape @param {SlidingWindow} window */
function processOf(scrape, window) {
  const build = scrape.get("sluice_build_info")?.[0]?.labels ?? {};
  return {
    lagP99: sumOf(scrape, "nodejs_eventloop_lag_p99_seconds"),
    lagMean: sumOf(scrape, "nodejs_eventloop_lag_mean_seconds"),
    resident: sumOf(scrape, "process_resident_memory_bytes"),
    heap: sumOf(scrape, "nodejs_heap_size_used_bytes"),
    cpu: window.rate("cpu"),
    startedAt: sumOf(scrape, "process_start_time_seconds"),
    version: build["version"] ?? null,
    node: build["node"] ?? null,
  };
}
