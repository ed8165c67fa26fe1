/** A gateway for tests: the real server on a real port, with an emulated upstream beside it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { pino } from "pino";
import { readCommand } from "../../src/config.ts";
import { type Emulator, type EmulatorOptions, startEmulator } from "../../src/emulator/index.ts";
import { type Server, startServer } from "../../src/server.ts";

export interface GatewayOptions {
  /** Settings, as environment variables. */
  readonly env?: Readonly<Record<string, string>>;
  readonly emulator?: EmulatorOptions;
}

export interface TestGateway {
  readonly url: string;
  readonly wsUrl: string;
  readonly emulator: Emulator;
  readonly server: Server;
  /** The value of a metric, summed over the series whose labels include `labels`; 0 where there is none. */
  metric(name: string, labels?: Readonly<Record<string, string>>): Promise<number>;
  close(): Promise<void>;
}

/** In this process, so that a test can look inside. */
export async function startGateway(options: GatewayOptions = {}): Promise<TestGateway> {
  const emulator = await startEmulator(options.emulator);
  const env = { PORT: "0", LOG_LEVEL: "silent", OPENAI_BASE_URL: emulator.url, ...options.env };
  const command = readCommand([], env);
  if (command.kind !== "serve") throw new Error("the test's settings do not start a gateway");
  const server = await startServer(command.config, pino({ level: command.config.logLevel }), "0.0.0-test");
  return {
    url: server.url,
    wsUrl: server.url.replace(/^http/, "ws"),
    emulator,
    server,
    metric: (name, labels) => metricOf(server.url, name, labels),
    async close() {
      await server.close();
      await emulator.close();
    },
  };
}

export async function metricOf(
  url: string,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return text
    .split("\n")
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .filter((line) => wanted.every((label) => line.includes(label)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
}

export interface GatewayProcess {
  readonly url: string;
  readonly wsUrl: string;
  readonly child: ChildProcess;
  /** What it has printed so far. */
  output(): string;
  /** Resolves with its exit code. */
  readonly exited: Promise<number | null>;
  stop(): Promise<void>;
}

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

/** As a process of its own, for what only a process shows: signals, exit codes, memory. */
export async function startProcess(
  env: Readonly<Record<string, string>>,
  args: readonly string[] = [],
): Promise<GatewayProcess> {
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { PATH: process.env["PATH"] ?? "", PORT: "0", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  const exited = once(child, "exit").then(([code]) => code as number | null);
  const listening = new Promise<string>((resolve, reject) => {
    const read = (chunk: Buffer): void => {
      output += chunk.toString();
      const url = /playground +(http:\S+?)\/\s/.exec(output)?.[1];
      if (url !== undefined) resolve(url);
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    void exited.then((code) => reject(new Error(`the gateway exited with ${code}: ${output}`)));
  });
  const url = await listening;
  return {
    url,
    wsUrl: url.replace(/^http/, "ws"),
    child,
    output: () => output,
    exited,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await exited;
    },
  };
}

/** Waits until `check` holds, looking again and again; fails with `what` after a generous while. */
export async function until(
  what: string,
  check: () => boolean | Promise<boolean>,
  limitMs = 20_000,
): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await check())) {
    if (performance.now() > deadline) throw new Error(`never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
