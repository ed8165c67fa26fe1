/** The official `openai` package for Python, in one process that takes the whole list of recordings. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type Ask, bodyFor, type CorpusClient, type Reading, Sheet } from "./corpus-clients.ts";

const SCRIPT = fileURLToPath(new URL("./python/corpus_client.py", import.meta.url));

interface Told {
  readonly id: number;
  readonly chunks: readonly unknown[];
  readonly error: { readonly kind: string; readonly status: number | null; readonly said: unknown } | null;
}

interface Waiting {
  readonly resolve: (told: Told) => void;
  readonly reject: (error: Error) => void;
}

export class CorpusPython implements CorpusClient {
  readonly name = "openai-python";
  readonly #child: ChildProcess;
  readonly #gone: Promise<unknown>;
  readonly #waiting = new Map<number, Waiting>();
  #ids = 0;

  constructor(path: string) {
    const child = spawn(path, [SCRIPT], { stdio: ["pipe", "pipe", "inherit"] });
    this.#child = child;
    createInterface({ input: child.stdout }).on("line", (line) => this.#told(JSON.parse(line) as Told));
    this.#gone = once(child, "exit").then(([code]) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`Python is gone with ${code}`));
    });
  }

  readonly retries = (): boolean => true;

  async read(base_url: string, { what, more, maxRetries: max_retries }: Ask): Promise<Reading> {
    const id = ++this.#ids;
    // What the package does not know as a parameter goes beside them.
    const task = { id, base_url, what, max_retries, body: { ...bodyFor(what), extra_body: more } };
    const { chunks, error } = await new Promise<Told>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.stdin?.write(`${JSON.stringify(task)}\n`);
    });
    const sheet = new Sheet();
    for (const chunk of chunks) sheet.take(chunk);
    return sheet.told(error === null ? undefined : { ...error, status: error.status ?? undefined });
  }

  /** Ends it; what has not been answered fails. */
  async close(): Promise<void> {
    this.#child.kill();
    await this.#gone;
  }

  #told(told: Told): void {
    this.#waiting.get(told.id)?.resolve(told);
    this.#waiting.delete(told.id);
  }
}
