/** Loaded before the gateway: SIGUSR2 starts V8's sampling profiler, another one ends it and writes what it saw to $PROFILE_OUT. */
import { writeFileSync } from "node:fs";
import { type Profiler, Session } from "node:inspector/promises";

const INTERVAL_US = 250;
const session = new Session();
session.connect();
let isRunning = false;

async function start(): Promise<void> {
  await session.post("Profiler.enable");
  await session.post("Profiler.setSamplingInterval", { interval: INTERVAL_US });
  await session.post("Profiler.start");
}

async function stop(): Promise<void> {
  const { profile }: { profile: Profiler.Profile } = await session.post("Profiler.stop");
  writeFileSync(process.env["PROFILE_OUT"] ?? "gateway.cpuprofile", JSON.stringify(profile));
}

process.on("SIGUSR2", () => {
  void (isRunning ? stop() : start());
  isRunning = !isRunning;
});
