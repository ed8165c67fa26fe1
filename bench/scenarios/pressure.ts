/** Readers that never read, and more requests than may run. */
import { type Bench, basics, interleaved, median, type Series, steadily, wrongIn } from "../rounds.ts";
import type { Section } from "../section.ts";
import { spreadOf } from "../statistics.ts";
import { sluiceSse, sluiceWs, startSluice } from "../subjects/sluice.ts";
import type { Subject } from "../subjects/subject.ts";

const STREAMS = 200;
const PACE = 25;
const STUCK = 5;
/** 6.6 MB: more than the kernel holds for a reader that takes nothing. */
const STUCK_EVENTS = 20_000;
const RAMP_MS = 3000;
const SECONDS = 2;

export async function slow(bench: Bench): Promise<Section> {
  const seconds = SECONDS * bench.seconds;
  const all = await interleaved(bench, [sluiceSse, sluiceWs], [0, STUCK], (subject, running, stuck) => {
    const step = steadily(subject, running, { streams: STREAMS, pace: PACE, seconds, rampMs: RAMP_MS });
    if (stuck === 0) return step;
    return { ...step, plan: { ...step.plan, stuck: { streams: stuck, events: STUCK_EVENTS } } };
  });
  return {
    name: "slow",
    title: "Slow readers beside others",
    about: `${STREAMS} streams of ${PACE} events a second, none or ${STUCK} of them to readers that never read ${STUCK_EVENTS.toLocaleString("en")} unpaced events. Latency of the others' events.`,
    columns: ["wire", "readers that never read", "p50 ms", "p99 ms", "RSS MB"],
    rows: all.map((series) => [
      series.subject.title,
      series.point,
      median(series, ({ window }) => window.event.p50),
      median(series, ({ window }) => window.event.p99),
      median(series, ({ rssKb }) => (rssKb ?? Number.NaN) / 1024),
    ]),
    goals: [],
    plots: [],
    notes: [],
    wrong: wrongIn(all.flatMap(({ found }) => found)),
  };
}

const LIMIT = 50;
const QUEUE = 100;
const ASKED = 300;
const EVENTS = 25;

export async function queue(bench: Bench): Promise<Section> {
  const limits = {
    SLUICE_MAX_CONCURRENCY: String(LIMIT),
    SLUICE_MAX_QUEUE: String(QUEUE),
    SLUICE_QUEUE_TIMEOUT_MS: "30000",
  };
  const limited: Subject = { ...sluiceSse, start: (rig) => startSluice(rig, { env: limits }) };
  const [series] = await interleaved(bench, [limited], [ASKED], (subject, running) => ({
    plan: { ...basics(subject, running), streams: ASKED, pace: 50, events: EVENTS, rampMs: 50 },
    timing: { settleMs: 0, seconds: 4, endMs: 5000 },
  }));
  const found = series?.found ?? [];
  const refused = spreadOf(found.map(({ totals }) => totals.failed));
  const wrong = found.reduce((sum, { totals }) => {
    const { failed, lost, reordered, duplicated, strange } = totals;
    // A refused stream brings no event, and is no loss.
    return sum + lost - failed * EVENTS + reordered + duplicated + strange;
  }, 0);
  return {
    name: "queue",
    title: `Overload: ${ASKED} requests at once`,
    about: `${LIMIT} may run and ${QUEUE} may wait; each answer takes about half a second. The others are refused at once.`,
    columns: ["asked", "served", "refused", "served within, p50 ms", "p99 ms"],
    rows: [
      [
        ASKED,
        ASKED - refused.median,
        refused.median,
        spreadOf(found.map(({ totals }) => totals.took.p50)).median,
        spreadOf(found.map(({ totals }) => totals.took.p99)).median,
      ],
    ],
    goals: [],
    plots: [],
    notes: found.some(({ totals }) => totals.failed !== ASKED - LIMIT - QUEUE) ? [unexpected(series)] : [],
    wrong,
  };
}

const unexpected = (series: Series | undefined): string =>
  `not ${ASKED - LIMIT - QUEUE} refused in every round: ${series?.found.map(({ totals }) => totals.failed).join(", ")}`;
