/**
 * `npm run soak`: hundreds of mixed streams with faults, cuts and stuck readers through one gateway process, for as long as is
 * asked. Prints what it found; `--write` also writes docs/SOAK.md and docs/soak.svg, with what each `--note` adds. Exits with 1 where a check fails.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { startEmulatorProcess } from "../support/emulator-process.ts";
import { type GatewayProcess, startProcess } from "../support/gateway.ts";
import { randomFrom } from "../support/soak/plans.ts";
import { Shared, type Soak, Stream, upset, whole } from "./client.ts";
import { dice, drawPlan, type Transport } from "./plan.ts";
import { plot } from "./plot.ts";
import {
  type Check,
  checkTable,
  type Findings,
  page,
  seriesTable,
  tallyTable,
  trendChecks,
} from "./report.ts";
import { openFiles, type Sample, Sampler, scrape } from "./samples.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "30" },
    streams: { type: "string", default: "300" },
    seed: { type: "string", default: "20260301" },
    write: { type: "boolean", default: false },
    note: { type: "string", multiple: true, default: [] },
  },
});
const MINUTES = Number(values.minutes);
const STREAMS = Number(values.streams);
const SEED = Number(values.seed);
const DOCS = new URL("../../docs/", import.meta.url);

const SETTINGS = {
  SLUICE_FIRST_TOKEN_TIMEOUT_MS: "20000",
  SLUICE_STALL_TIMEOUT_MS: "10000",
  SLUICE_TOTAL_TIMEOUT_MS: "30000",
  SLUICE_EARLY_HEADERS_MS: "2000",
  SLUICE_WRITE_STALL_MS: "5000",
  SLUICE_DISCONNECT_GRACE_MS: "15000",
  SLUICE_RETENTION_MS: "30000",
};
/** Streams on one WebSocket. */
const LANES = 5;
const RAMP_MS = 10_000;
const STUCK_EVERY_MS = 10_000;
const SETTLE_MS = 90_000;
const KEPT_MS = 130_000;
const MB = 1_048_576;
/** On SIGUSR2 the gateway collects its garbage: asked twice, before the load and long after it. */
const COLLECTS = "--expose-gc --import=data:text/javascript,process.on('SIGUSR2',()=>gc())";

const GAUGES = [
  "readers",
  "websocket_connections",
  "generations_active",
  "generations_retained",
  "retained_bytes",
  "upstream_in_flight",
  "queue_depth",
].map((name) => `sluice_${name}`);

const COUNTERS = [
  "requests_total",
  "readers_total",
  "resumes_total",
  "reader_disconnects_total",
  "slow_readers_total",
  "upstream_requests_total",
  "upstream_retries_total",
  "tokens_total",
  "events_after_last_reader_total",
].map((name) => `sluice_${name}`);

interface Idle {
  readonly heapMb: number;
  readonly fds: number;
}

const emulator = await startEmulatorProcess(tmpdir());
const gateway = await startProcess({
  OPENAI_BASE_URL: emulator.url,
  LOG_LEVEL: "warn",
  NODE_OPTIONS: COLLECTS,
  ...SETTINGS,
});
const random = dice(randomFrom(SEED));
const soak: Soak = {
  url: gateway.url,
  wsUrl: gateway.wsUrl,
  random,
  tally: {},
  wrong: [],
  sent: 0,
  unsure: 0,
};

console.log(`${MINUTES} minutes, ${STREAMS} streams, seed ${SEED}, gateway process ${gateway.child.pid}`);
let done = 0;
let serial = 0;
const before = await idle(gateway);
const sampler = new Sampler(gateway.url, gateway.child.pid, () => done, tell);
const until = performance.now() + MINUTES * 60_000;
// What only runs out after that would bend the trends.
setTimeout(() => sampler.stop(), MINUTES * 60_000);
await Promise.all([lanes(), stuck()]);
console.log("the load has ended");
const left = await settle();
await closed(before.fds);
const after = await idle(gateway);
const findings = await found(left, after);

console.log(`\n${checkTable(findings.checks)}\n\n${seriesTable(findings.samples)}\n`);
console.log(`${tallyTable(findings.tally)}\n\n${tallyTable(findings.counters)}\n`);
for (const problem of soak.wrong.slice(0, 20)) console.log(problem);
if (values.write) {
  mkdirSync(DOCS, { recursive: true });
  writeFileSync(new URL("SOAK.md", DOCS), page(findings, notes()));
  writeFileSync(new URL("soak.svg", DOCS), plot(findings.samples));
}
await gateway.stop();
await emulator.stop();
process.exitCode = findings.checks.every(({ isWell }) => isWell) ? 0 : 1;

/** One line a sample, for whoever watches the log. */
function tell(sample: Sample): void {
  const { seconds, rssMb, heapMb, fds, resources, readers, active, retained, queued, lagMs, cpu } = sample;
  const mb = [rssMb, heapMb].map((value) => value.toFixed(1));
  console.log(
    `${seconds} s: rss ${mb[0]}, heap ${mb[1]}, fds ${fds}, resources ${resources}, readers ${readers}, active ${active}, retained ${retained}, queued ${queued}, lag ${lagMs.toFixed(1)} ms, cpu ${(cpu * 100).toFixed(0)} %, done ${sample.done}, wrong ${soak.wrong.length}`,
  );
}

/** As many as there are streams at once: thirty in a hundred over WebSocket, five not streamed, the rest in halves. */
async function lanes(): Promise<void> {
  const lines = Array.from({ length: Math.ceil((STREAMS * 0.3) / LANES) }, () => new Shared(soak.wsUrl));
  const lane = async (index: number): Promise<void> => {
    const share = index / STREAMS;
    const transport: Transport =
      share < 0.3 ? "socket" : share < 0.62 ? "stock" : share < 0.95 ? "events" : "whole";
    // Those that come back over WebSocket do so beside the others.
    const shared = lines[Math.floor(index / LANES) % lines.length] as Shared;
    await sleep(random.below(RAMP_MS));
    while (performance.now() < until) await one(transport, shared, false);
  };
  await Promise.all(Array.from({ length: STREAMS }, (_, index) => lane(index)));
  for (const line of lines) line.close();
}

/** Readers that take nothing, each on a connection of its own, one every few seconds. */
async function stuck(): Promise<void> {
  const all: Promise<void>[] = [];
  await sleep(RAMP_MS);
  while (performance.now() < until) {
    const shared = new Shared(soak.wsUrl);
    const transport = random.oneOf(["stock", "events", "socket"] as const);
    all.push(one(transport, shared, true).then(() => shared.close()));
    await sleep(STUCK_EVERY_MS);
  }
  await Promise.all(all);
}

async function one(transport: Transport, shared: Shared, isStuck: boolean): Promise<void> {
  const plan = drawPlan(`s${serial++}`, transport, isStuck, random);
  try {
    if (transport === "whole") await whole(soak, plan);
    else await new Stream(soak, plan, shared).run();
    if (transport === "socket" && !isStuck) await upset(soak, shared);
  } catch (thrown) {
    soak.wrong.push(`${plan.name} (${transport}): ${thrown}`);
    await sleep(1000);
  }
  done++;
}

/** Waits until every gauge is back at 0. @returns those that never are */
async function settle(): Promise<string[]> {
  const deadline = performance.now() + SETTLE_MS;
  for (;;) {
    const figures = await scrape(gateway.url);
    const still = GAUGES.filter((name) => figures(name) !== 0).map((name) => `${name} ${figures(name)}`);
    if (still.length === 0 || performance.now() > deadline) return still;
    await sleep(500);
  }
}

/** Connections to the upstream are kept for as long as it says that it keeps them. */
async function closed(fds: number): Promise<void> {
  const deadline = performance.now() + KEPT_MS;
  while (openFiles(gateway.child.pid) > fds && performance.now() < deadline) await sleep(1000);
}

async function idle({ url, child }: GatewayProcess): Promise<Idle> {
  await sleep(6000);
  for (let turn = 0; turn < 3; turn++) {
    child.kill("SIGUSR2");
    await sleep(500);
  }
  const figures = await scrape(url);
  return { heapMb: figures("nodejs_heap_size_used_bytes") / MB, fds: openFiles(child.pid) };
}

async function found(left: readonly string[], after: Idle): Promise<Findings> {
  const figures = await scrape(gateway.url);
  const stats = (await (await fetch(new URL("/emulator/stats", emulator.url))).json()) as Record<
    string,
    number
  >;
  const counted = figures("sluice_requests_total");
  const output = gateway.output().match(/"level":(?:50|60).*/g) ?? [];
  const checks: Check[] = [
    {
      name: "every stream came to its scripted end, byte for byte",
      isWell: soak.wrong.length === 0,
      found: `${soak.wrong.length} wrong of ${done}, ${soak.tally["events"]} events`,
    },
    {
      name: "every creating request was counted once",
      isWell: counted <= soak.sent && counted >= soak.sent - soak.unsure,
      found: `${counted} of ${soak.sent}, ${soak.unsure} of them cut off on their way`,
    },
    { name: "every gauge is back at 0", isWell: left.length === 0, found: left.join(", ") || "all" },
    {
      name: "the upstream has nothing open",
      isWell: stats["open"] === 0,
      found: `${stats["open"]} open of ${stats["requests"]}`,
    },
    { name: "no error was logged", isWell: output.length === 0, found: output[0] ?? "none" },
    {
      name: "idle again, it has the file descriptors that it had before",
      isWell: after.fds <= before.fds + 2,
      found: `${before.fds}, then ${after.fds}`,
    },
    {
      name: "idle again and collected, the heap is within 10 MB of what it was before",
      isWell: after.heapMb - before.heapMb < 10,
      found: `${before.heapMb.toFixed(1)} MB, then ${after.heapMb.toFixed(1)} MB`,
    },
    ...trendChecks(sampler.samples),
  ];
  return {
    minutes: MINUTES,
    streams: STREAMS,
    seed: SEED,
    command: `npm run soak -- --minutes ${MINUTES} --streams ${STREAMS} --seed ${SEED} --write`,
    settings: SETTINGS,
    samples: sampler.samples,
    tally: soak.tally,
    checks,
    wrong: soak.wrong,
    counters: Object.fromEntries(COUNTERS.map((name) => [name, figures(name)])),
  };
}

function notes(): string[] {
  const [, , , ...rest] = sampler.samples;
  const cpu = rest.reduce((sum, sample) => sum + sample.cpu, 0) / Math.max(1, rest.length);
  return [
    `The gateway used ${(cpu * 100).toFixed(0)} % of one processor on average; emulator and clients shared the machine with it, and so did whatever else ran there meanwhile, which shows in the event loop's lag.`,
    "The pace is meant to be moderate: this looks for what is lost and what grows, not for the most that it can carry.",
    "Clients draw in the order in which they come to it, so the same seed gives the same kinds of streams, not the same run to the millisecond.",
    "Resident memory holds what the allocator keeps for later; it is shown, and no bound is set on it.",
    ...values.note,
    "Stuck readers are sent 15 MB each, one every 10 s, which is most of the memory that comes and goes.",
  ];
}
