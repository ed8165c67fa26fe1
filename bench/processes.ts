/** Processes of the bench: pinned to a core where the machine can, and what the kernel knows of each. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

export type Place = "subject" | "load";

const hasTaskset = spawnSync("taskset", ["--version"]).error === undefined;

/** The last core is the subject's alone; upstream and load have the others. */
export const cores: Readonly<Record<Place, string>> | undefined = coresOf(availableParallelism());

function coresOf(count: number): Record<Place, string> | undefined {
  if (!hasTaskset || count < 2) return undefined;
  const allowed = allowedCores();
  const last = allowed.at(-1);
  if (last === undefined || allowed.length < 2) return undefined;
  return { subject: String(last), load: allowed.slice(0, -1).join(",") };
}

/** `0-2,5` is 0, 1, 2, 5. */
function allowedCores(): number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "";
  return list.split(",").flatMap((part) => {
    const [from = 0, to = from] = part.split("-").map(Number);
    return Array.from({ length: to - from + 1 }, (_, index) => from + index);
  });
}

export interface Pinned {
  readonly child: ChildProcess;
  readonly pid: number;
  output(): string;
  stop(): Promise<void>;
}

export interface Start {
  readonly command: string;
  readonly args: readonly string[];
  readonly place: Place;
  readonly env?: Readonly<Record<string, string>>;
  /** With a channel for messages. */
  readonly talks?: boolean;
}

const OUTPUT_LIMIT = 100_000;

export function start({ command, args, place, env, talks }: Start): Pinned {
  const pin = cores === undefined ? [] : ["taskset", "-c", cores[place]];
  const [first = command, ...rest] = [...pin, command, ...args];
  const child = spawn(first, rest, {
    env: { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "", ...env },
    stdio: ["ignore", "pipe", "pipe", ...(talks === true ? (["ipc"] as const) : [])],
    // Ctrl-C is for the bench alone, which then ends these.
    detached: true,
  });
  let output = "";
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-OUTPUT_LIMIT);
  };
  child.stdout?.on("data", keep);
  child.stderr?.on("data", keep);
  // taskset becomes the command: the pid stays.
  const exited = once(child, "exit");
  return {
    child,
    pid: child.pid ?? 0,
    output: () => output,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
      const late = setTimeout(() => child.kill("SIGKILL"), 2000);
      await exited;
      clearTimeout(late);
    },
  };
}

/** The first message of a process that talks. @throws Error with its output where it exits before */
export async function firstMessage(pinned: Pinned): Promise<Record<string, unknown>> {
  return Promise.race([
    once(pinned.child, "message").then(([message]) => message as Record<string, unknown>),
    once(pinned.child, "exit").then(() => {
      throw new Error(`it exited: ${pinned.output()}`);
    }),
  ]);
}

/** What the kernel has counted of a process up to now. */
export interface Usage {
  /** Processor time of all its threads, microseconds. */
  readonly cpuUs: number;
  /** For how long threads of it were ready to run and had no core, microseconds. */
  readonly waitUs: number;
  /** `read` and `write` system calls. */
  readonly reads: number;
  readonly writes: number;
  readonly rssKb: number;
  /** Monotonic milliseconds. */
  readonly at: number;
}

export function usageOf(pid: number): Usage {
  const io = readFileSync(`/proc/${pid}/io`, "utf8");
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return {
    ...scheduled(pid),
    reads: Number(/^syscr: (\d+)/m.exec(io)?.[1]),
    writes: Number(/^syscw: (\d+)/m.exec(io)?.[1]),
    rssKb: Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]),
    at: performance.now(),
  };
}

/** Nanoseconds of each thread (Documentation/scheduler/sched-stats.rst): run, and waited for a core. */
function scheduled(pid: number): { cpuUs: number; waitUs: number } {
  const threads = readdirSync(`/proc/${pid}/task`).map((task) =>
    readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ").map(Number),
  );
  const sum = (column: number): number =>
    threads.reduce((total, thread) => total + (thread[column] ?? 0), 0) / 1000;
  return { cpuUs: sum(0), waitUs: sum(1) };
}
