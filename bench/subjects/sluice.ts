/** The gateway itself, as `npm start` runs it, over each of its wires. */
import { spawnSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { SETTINGS } from "../../src/config/settings.ts";
import { start } from "../processes.ts";
import type { Rig } from "../rig.ts";
import type { Running, Subject } from "./subject.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const EACH = new URL("servers/each.ts", import.meta.url).href;
const START_MS = 20_000;
/** More than any scenario asks for: its limits are measured only where they are the subject. */
const ROOM = {
  SLUICE_MAX_CONCURRENCY: "20000",
  SLUICE_MAX_CONNECTIONS: "20000",
  LOG_LEVEL: "warn",
  PORT: "0",
};

export interface SluiceOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly nodeArgs?: readonly string[];
}

export async function startSluice({ upstream }: Rig, options: SluiceOptions = {}): Promise<Running> {
  const env = { OPENAI_BASE_URL: upstream.url, ...ROOM, ...options.env };
  const args = [...(options.nodeArgs ?? []), MAIN];
  const pinned = start({ command: process.execPath, args, place: "subject", env });
  const deadline = performance.now() + START_MS;
  for (;;) {
    const port = /playground +http:\/\/127\.0\.0\.1:(\d+)\//.exec(pinned.output())?.[1];
    if (port !== undefined) {
      const stop = (): Promise<void> => pinned.stop();
      return { host: "127.0.0.1", port: Number(port), pid: pinned.pid, countsCalls: true, stop };
    }
    if (performance.now() > deadline || pinned.child.exitCode !== null)
      throw new Error(`the gateway did not start: ${pinned.output()}`);
    await sleep(20);
  }
}

export const sluiceSse: Subject = {
  name: "sluice-sse",
  title: "Sluice, SSE",
  wire: "sse",
  perConnection: 1,
  start: (rig) => startSluice(rig),
};

export const sluiceWs: Subject = { ...sluiceSse, name: "sluice-ws", title: "Sluice, WebSocket", wire: "ws" };

export const sluiceWs50: Subject = {
  ...sluiceWs,
  name: "sluice-ws50",
  title: "Sluice, WebSocket, 50 streams on each",
  perConnection: 50,
};

/** Many streams on one connection on both sides: to the upstream over HTTP/2 and TLS, whose cost is in the figure. */
export const sluiceWs50Http2: Subject = {
  ...sluiceWs50,
  name: "sluice-ws50-h2",
  title: "Sluice, WebSocket, 50 streams on each, HTTP/2 upstream",
  missing() {
    if (!("upstreamHttp2" in SETTINGS)) return "the gateway has no setting for HTTP/2 upstreams";
    return spawnSync("openssl", ["version"]).error === undefined ? undefined : "openssl is not installed";
  },
  start: (rig) => startSluice(rig, { env: { ...rig.secure(), SLUICE_UPSTREAM_HTTP2: "true" } }),
};

/** Every reader encodes for itself: what one encoding for all is measured against. */
export const sluiceEach: Subject = {
  ...sluiceSse,
  name: "sluice-each",
  title: "Sluice, encoded for each reader",
  start: (rig) => startSluice(rig, { nodeArgs: ["--import", EACH] }),
};
