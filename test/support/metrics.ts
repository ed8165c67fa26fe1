/** What the tests of the metrics share: a set of metrics, scripted calls, and a reader of the text. */
import type { EndFacts, Levels, RequestFacts } from "../../src/core/ports.ts";
import { Metrics, type MetricsOptions } from "../../src/metrics/metrics.ts";

export const LEVELS: Levels = {
  queueDepth: 3,
  queueLimit: 1024,
  inFlight: 7,
  concurrencyLimit: 256,
  active: 10,
  retained: 4,
  retainedBytes: 4096,
  draining: false,
};

const made: Metrics[] = [];

export function closeAll(): void {
  for (const metrics of made.splice(0)) metrics.close();
}

/** Metrics that throw at what they would leave out in service. */
export function make(options: Partial<MetricsOptions> = {}): Metrics {
  const metrics = new Metrics({
    version: "1.2.3",
    keyNames: ["team", "ci"],
    models: ["alpha"],
    upstreams: ["main", "spare"],
    levels: () => LEVELS,
    isWell: () => true,
    onFault: (fault) => {
      throw fault;
    },
    ...options,
  });
  made.push(metrics);
  return metrics;
}

export const request: RequestFacts = { model: "alpha", transport: "sse", key: "team" };

export const facts = (more: Partial<EndFacts> = {}): EndFacts => ({
  ...request,
  outcome: "completed",
  streamed: true,
  timing: { queue_ms: 0, duration_ms: 1500 },
  streaming_ms: 1000,
  contentEvents: 5,
  attempts: 1,
  bytes: 100,
  ...more,
});

export type Series = ReadonlyMap<string, number>;

export const scrape = async (metrics: Metrics): Promise<Series> => seriesOf(await metrics.render());

/** Every line of a render, labels in alphabetical order: `name{a="1",b="2"}` -> value. */
export function seriesOf(text: string): Series {
  const series = new Map<string, number>();
  for (const line of text.split("\n")) {
    const parts = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (line.startsWith("#") || parts === null) continue;
    const labels = (parts[2] ?? "").match(/\w+="(?:[^"\\]|\\.)*"/g) ?? [];
    series.set(`${parts[1]}{${labels.sort().join(",")}}`, Number(parts[3]));
  }
  return series;
}

export const at = (
  series: Series,
  name: string,
  labels: Record<string, string | number> = {},
): number | undefined =>
  series.get(
    `sluice_${name}{${Object.entries(labels)
      .map(([label, value]) => `${label}="${value}"`)
      .sort()
      .join(",")}}`,
  );

export const ours = (series: Series): string[] =>
  [...series.keys()].filter((key) => key.startsWith("sluice_"));

/** Calls everything there is, once. */
export function callAll(metrics: Metrics, on: RequestFacts = request, upstream = "main", code = "200"): void {
  metrics.refused(on, "queue_full");
  metrics.admitted(on, 12);
  metrics.upstreamAnswered(upstream, code);
  metrics.upstreamRetried(upstream, code);
  metrics.firstContent(on, 300);
  metrics.content(on, 20);
  metrics.delivered(on, on.transport, 320, 0.4);
  metrics.unread(2);
  metrics.ended({ ...facts({ tokens: { input: 9, output: 5, cached: 3, reasoning: 1 } }), ...on });
  metrics.ended({ ...facts({ outcome: "failed", contentEvents: 0, code }), ...on });
  metrics.readerJoined(on.transport);
  metrics.readerLeft(on.transport, "streaming");
  metrics.resumed(on.transport, "resumed");
  metrics.slowReader(on.transport);
  metrics.connectionOpened();
  metrics.connectionClosed();
}
