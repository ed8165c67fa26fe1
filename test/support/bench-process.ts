/** `sluice bench` as a process of its own, and the JSON that it writes. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

export interface BenchEnded {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** What the tests read of the JSON; the lists have an entry a request, in seconds. */
export interface BenchResult {
  readonly duration: number;
  readonly completed: number;
  readonly failed: number;
  readonly interrupted: number;
  readonly total_output_tokens: number;
  readonly request_throughput: number;
  readonly output_throughput: number;
  readonly mean_ttft_ms: number;
  readonly median_e2el_ms: number;
  readonly mean_itl_ms: number;
  readonly token_counts: { readonly usage: number; readonly events: number };
  readonly error_codes: Readonly<Record<string, number>>;
  readonly input_lens: readonly number[];
  readonly output_lens: readonly number[];
  readonly ttfts: readonly number[];
  readonly itls: readonly (readonly number[])[];
  readonly latencies: readonly number[];
  readonly start_times: readonly number[];
  readonly queue_times: readonly number[];
  readonly errors: readonly string[];
  readonly compare?: BenchResult;
  readonly [more: string]: unknown;
}

export interface BenchProcess {
  readonly child: ChildProcess;
  readonly ended: Promise<BenchEnded>;
}

/** Starts the command without the key that this machine may have in its environment. */
export function startBench(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): BenchProcess {
  const child = spawn(process.execPath, [MAIN, "bench", ...args], {
    env: { PATH: process.env["PATH"] ?? "", ...env },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 50_000,
    killSignal: "SIGKILL",
  });
  const said = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk: Buffer) => (said.stdout += chunk));
  child.stderr.on("data", (chunk: Buffer) => (said.stderr += chunk));
  const ended = once(child, "close").then(([code]) => ({ code: code as number | null, ...said }));
  return { child, ended };
}

/** Runs the command to its end. */
export function runBench(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<BenchEnded> {
  return startBench(args, env).ended;
}

/** A folder for what the command writes. */
export class BenchFolder {
  readonly path = mkdtempSync(join(tmpdir(), "sluice-bench-"));
  readonly json = join(this.path, "result.json");

  text(name = "result.json"): string {
    return readFileSync(join(this.path, name), "utf8");
  }

  result(): BenchResult {
    return JSON.parse(this.text()) as BenchResult;
  }

  remove(): void {
    rmSync(this.path, { recursive: true });
  }
}

/** The value of a row of the printed block. */
export const rowOf = (text: string, label: string): string | undefined =>
  text
    .split("\n")
    .find((line) => line.startsWith(`${label}:`))
    ?.slice(label.length + 1)
    .trim();
