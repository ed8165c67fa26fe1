/** Where the gateway's processor time goes: a V8 profile of it at 200 streams, over SSE and over WebSocket. */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { table } from "./report.ts";
import { measure, type Rig } from "./rig.ts";
import { steadily } from "./rounds.ts";
import { sluiceSse, sluiceWs, startSluice } from "./subjects/sluice.ts";

const PROFILER = new URL("subjects/servers/profiler.ts", import.meta.url).href;
const STREAMS = 200;
const PACE = 50;
const SECONDS = 8;
const MOST = 15;

interface Profile {
  readonly nodes: ReadonlyArray<{
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }>;
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** Writes a `.cpuprofile` for each wire into the folder and prints the functions with the most time of their own. */
export async function profile(rig: Rig, out: string): Promise<void> {
  mkdirSync(out, { recursive: true });
  for (const subject of [sluiceSse, sluiceWs]) {
    const file = join(out, `${subject.name}-${Date.now()}.cpuprofile`);
    const running = await startSluice(rig, {
      nodeArgs: ["--import", PROFILER],
      env: { PROFILE_OUT: file },
    });
    // A first round is the compiler's.
    const { plan, timing } = steadily(subject, running, { streams: STREAMS, pace: PACE, seconds: SECONDS });
    await measure(rig, running, plan, timing);
    const measuring = measure(rig, running, plan, timing);
    await sleep(plan.rampMs + timing.settleMs);
    process.kill(running.pid as number, "SIGUSR2");
    await sleep((timing.seconds - 1) * 1000);
    process.kill(running.pid as number, "SIGUSR2");
    const { usPerChunk } = await measuring;
    await running.stop();
    console.log(`${subject.title}: ${usPerChunk?.toFixed(1)} us/chunk while profiled; ${file}`);
    console.log(`${table(["function", "where", "ms", "%"], top(file))}\n`);
  }
}

/** By self time; what was idle is left out, and so is the start of the profiler itself. */
function top(file: string): (string | number)[][] {
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(file, "utf8")) as Profile;
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
  const times = new Map<string, number>();
  samples.forEach((id, index) => {
    const frame = frames.get(id);
    if (frame === undefined || frame.functionName === "(idle)" || frame.url === "node:inspector") return;
    const where = `${frame.url.replace(/^.*\/(?=(src|node_modules)\/)/, "")}:${frame.lineNumber + 1}`;
    const key = `${frame.functionName || "(anonymous)"}\t${frame.url === "" ? "" : where}`;
    times.set(key, (times.get(key) ?? 0) + (timeDeltas[index] ?? 0) / 1000);
  });
  const all = [...times.values()].reduce((sum, ms) => sum + ms, 0);
  return [...times]
    .sort(([, a], [, b]) => b - a)
    .slice(0, MOST)
    .map(([key, ms]) => [...key.split("\t"), ms, (ms / all) * 100]);
}
