/** The result as JSON: the members that `vllm bench serve` writes, by the same names and in the same units, and some of ours. */
import type { Metrics } from "./metrics.ts";
import { LATENCIES, TIMINGS } from "./metrics.ts";
import type { Observation } from "./observation.ts";
import type { BenchOptions } from "./options.ts";
import type { Summary } from "./statistics.ts";
import type { Transport } from "./wire.ts";

export interface MeasuredSide {
  readonly baseUrl: string;
  readonly transport: Transport;
  readonly metrics: Metrics;
  /** In the order in which they were sent. */
  readonly observations: readonly Observation[];
}

/** A backend's name as vLLM has it, and ours where it has none. */
const BACKENDS = { sse: "openai-chat", websocket: "sluice-websocket", events: "sluice-events" } as const;

/** Of two sides the first stands at the top, the second in `compare`. */
export function resultOf(
  sides: readonly MeasuredSide[],
  options: BenchOptions,
  model: string,
  startMs: number,
): object {
  const [first, second] = sides.map((side) => ({
    ...headOf(side, options, model),
    ...figuresOf(side.metrics, options.percentiles),
    ...requestsOf(side.observations, options, startMs),
  }));
  return second === undefined ? { ...first } : { ...first, compare: second };
}

function headOf({ baseUrl, transport }: MeasuredSide, options: BenchOptions, model: string): object {
  const backend = BACKENDS[transport];
  return {
    date: dateText(new Date()),
    endpoint_type: backend,
    backend,
    label: null,
    model_id: model,
    tokenizer_id: null,
    num_prompts: options.numPrompts,
    request_rate: options.rate === Infinity ? "inf" : options.rate,
    burstiness: 1,
    max_concurrency: options.concurrency ?? null,
    base_url: baseUrl,
    transport,
    seed: options.seed,
    max_tokens: options.maxTokens,
  };
}

function figuresOf(metrics: Metrics, percentiles: readonly number[]): object {
  const summaries = [
    ...LATENCIES.map((name) => [name, metrics.latencies[name]] as const),
    ...TIMINGS.map((name) => [`gateway_${name.replace(/_ms$/, "")}`, metrics.timings[name]] as const),
  ];
  return {
    duration: metrics.durationS,
    completed: metrics.completed,
    failed: metrics.failed,
    interrupted: metrics.interrupted,
    total_input_tokens: metrics.inputTokens,
    total_output_tokens: metrics.outputTokens,
    request_throughput: metrics.requestThroughput,
    request_goodput: metrics.requestGoodput ?? null,
    output_throughput: metrics.outputThroughput,
    total_token_throughput: metrics.totalThroughput,
    max_output_tokens_per_s: metrics.peakOutputThroughput,
    max_concurrent_requests: metrics.peakConcurrency,
    token_counts: { usage: metrics.countedByUsage, events: metrics.countedByEvents },
    error_codes: Object.fromEntries(metrics.faults),
    ...Object.assign({}, ...summaries.map(([name, summary]) => summaryOf(name, summary, percentiles))),
  };
}

/** Nothing was measured: null. */
function summaryOf(name: string, summary: Summary | undefined, percentiles: readonly number[]): object {
  const values = new Map(summary?.percentiles);
  return {
    [`mean_${name}_ms`]: summary?.mean ?? null,
    [`median_${name}_ms`]: summary?.median ?? null,
    [`std_${name}_ms`]: summary?.std ?? null,
    ...Object.fromEntries(percentiles.map((p) => [`p${p}_${name}_ms`, values.get(p) ?? null])),
  };
}

/** Lists with one entry a request; times are seconds. */
function requestsOf(seen: readonly Observation[], { apiKey }: BenchOptions, startMs: number): object {
  const seconds = (ms: number): number => ms / 1000;
  return {
    input_lens: seen.map(({ promptTokens }) => promptTokens ?? 0),
    output_lens: seen.map((each) => (each.outcome === "completed" ? each.outputTokens : 0)),
    ttfts: seen.map(({ ttftMs }) => seconds(ttftMs)),
    itls: seen.map(({ itlsMs }) => itlsMs.map(seconds)),
    latencies: seen.map(({ e2elMs }) => seconds(e2elMs)),
    start_times: seen.map((each) => seconds(each.startMs - startMs)),
    queue_times: seen.map((each) => seconds(Math.max(0, each.startMs - each.dueMs))),
    errors: seen.map(({ fault }) =>
      fault === undefined ? "" : `${fault.code}: ${masked(fault.message, apiKey)}`,
    ),
  };
}

/** Servers quote a wrong key in their refusal; it must not end in a file. */
export const masked = (text: string, secret: string | undefined): string =>
  secret === undefined ? text : text.replaceAll(secret, "***");

/** `20261231-235959`, local time. */
function dateText(date: Date): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}${two(date.getMonth() + 1)}${two(date.getDate())}`;
  return `${day}-${two(date.getHours())}${two(date.getMinutes())}${two(date.getSeconds())}`;
}
