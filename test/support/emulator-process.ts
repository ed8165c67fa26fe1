/** The emulated upstream as a process of its own, for tests that would otherwise keep one processor busy for minutes. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

export interface EmulatorProcess {
  /** Its base URL. */
  readonly url: string;
  stop(): Promise<void>;
}

export async function startEmulatorProcess(corpus: string): Promise<EmulatorProcess> {
  const child = spawn(process.execPath, [MAIN, "emulator", "--port", "0", "--corpus", corpus], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  const told = once(createInterface({ input: child.stdout }), "line");
  const [line] = (await Promise.race([told, exited])) as [unknown];
  const url = /http:\S+/.exec(String(line))?.[0];
  if (url === undefined) throw new Error(`the emulator did not start: ${line}`);
  return {
    url,
    async stop() {
      child.kill("SIGTERM");
      await exited;
    },
  };
}
