/** A gateway in front of several emulated upstreams, listed in a config file as an operator would. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { readCommand } from "../../src/config.ts";
import { type Emulator, type EmulatorOptions, type Script, startEmulator } from "../../src/emulator/index.ts";
import { type Server, startServer } from "../../src/server.ts";
import { metricOf } from "./gateway.ts";

/** A port that is reserved and that nothing listens on. */
export const NOBODY = "http://127.0.0.1:1/v1";

export interface UpstreamPlan {
  readonly name: string;
  /** What it answers to everything; without one, each request's own script. */
  readonly script?: Script;
  readonly emulator?: EmulatorOptions;
  /** In place of the emulator's own address. */
  readonly baseUrl?: string;
  /** Further members in the config file: `models`, `maxConcurrency`, time limits. */
  readonly member?: object;
}

export interface UpstreamsGateway {
  readonly url: string;
  readonly wsUrl: string;
  readonly server: Server;
  /** By the upstream's name. Throws for one that is not there. */
  emulator(name: string): Emulator;
  /** POSTs that the upstream saw. */
  asked(name: string): number;
  metric(name: string, labels?: Readonly<Record<string, string>>): Promise<number>;
  close(): Promise<void>;
}

/** @param plans in order of preference; @param env settings, as environment variables */
export async function startOverUpstreams(
  plans: readonly UpstreamPlan[],
  env: Readonly<Record<string, string>> = {},
): Promise<UpstreamsGateway> {
  const emulators = new Map<string, Emulator>();
  const upstreams: object[] = [];
  for (const { name, script, emulator: options, baseUrl, member } of plans) {
    const emulator = await startEmulator(options);
    if (script !== undefined) emulator.script = () => script;
    emulators.set(name, emulator);
    upstreams.push({ name, baseUrl: baseUrl ?? emulator.url, ...member });
  }
  const server = await startServer(configOf({ upstreams }, env), pino({ level: "silent" }), "0.0.0-test");
  const emulator = (name: string): Emulator => {
    const found = emulators.get(name);
    if (found === undefined) throw new Error(`there is no upstream ${name}`);
    return found;
  };
  return {
    url: server.url,
    wsUrl: server.url.replace(/^http/, "ws"),
    server,
    emulator,
    asked: (name) => emulator(name).stats.requests,
    metric: (name, labels) => metricOf(server.url, name, labels),
    async close() {
      await server.close();
      for (const emulated of emulators.values()) await emulated.close();
    },
  };
}

function configOf(file: object, env: Readonly<Record<string, string>>) {
  const folder = mkdtempSync(join(tmpdir(), "sluice-"));
  try {
    const path = join(folder, "sluice.json");
    writeFileSync(path, JSON.stringify(file));
    const command = readCommand([], { PORT: "0", LOG_LEVEL: "silent", ...env, SLUICE_CONFIG: path });
    if (command.kind !== "serve") throw new Error("the test's settings do not start a gateway");
    return command.config;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
