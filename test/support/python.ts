/** A Python with the official `openai` package, where this machine has one. */
import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const VENV = fileURLToPath(new URL("../../.venv/bin/python", import.meta.url));
const SCRIPTS = fileURLToPath(new URL("./python/", import.meta.url));

/** Its path, or undefined; never another Python than the one that was named. */
export const python = [process.env["SLUICE_PYTHON"] || VENV].find(
  (path) => (path !== VENV || existsSync(path)) && spawnSync(path, ["-c", "import openai"]).status === 0,
);

export interface Task {
  readonly base_url: string;
  readonly what: "chat" | "completions" | "embeddings" | "models";
  readonly how?: "stream" | "helper" | "whole";
  readonly max_retries?: number;
  readonly body?: object;
  /** Leaves the stream after so many chunks. */
  readonly leave_after?: number;
}

export interface Told {
  readonly text: string;
  readonly chunks: readonly Record<string, unknown>[];
  readonly error: {
    readonly class: string;
    readonly status: number | null;
    readonly code: string | null;
    readonly type: string | null;
    readonly message: string;
    readonly body: unknown;
    readonly request_id: string | null;
  } | null;
  readonly events?: readonly string[];
  readonly final?: string;
  readonly finish?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly value?: unknown;
}

/** One Python process that does task after task: importing the package takes longer than a test. */
export class PythonClient {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  #errors = "";
  #tail: Promise<unknown>;

  constructor(path: string, mode: "sync" | "async") {
    const child = spawn(path, [`${SCRIPTS}openai_client.py`, mode], { stdio: ["pipe", "pipe", "pipe"] });
    this.#child = child;
    child.stderr.on("data", (chunk: Buffer) => {
      this.#errors += chunk.toString();
    });
    this.#answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    this.#tail = this.#next();
  }

  /** Tasks are done one after the other. */
  ask(task: Task): Promise<Told> {
    const told = this.#tail.then(async () => {
      this.#child.stdin?.write(`${JSON.stringify({ how: "whole", ...task })}\n`);
      return JSON.parse(await this.#next()) as Told;
    });
    this.#tail = told.catch(() => {});
    return told;
  }

  async close(): Promise<void> {
    const gone = once(this.#child, "exit");
    if (this.#child.exitCode === null) {
      this.#child.stdin?.end();
      await gone;
    }
  }

  async #next(): Promise<string> {
    const { value, done } = await this.#answers.next();
    if (done) throw new Error(`Python is gone: ${this.#errors}`);
    return value;
  }
}

/** Runs a script to its end; resolves with the JSON that it prints. */
export async function runPython<T>(path: string, script: string, args: readonly string[]): Promise<T> {
  const { stdout } = await promisify(execFile)(path, [`${SCRIPTS}${script}`, ...args]);
  return JSON.parse(stdout) as T;
}
