/** Upstream and load, and one measurement with them. */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Answers, Order, Plan, Totals, Window } from "./load/plan.ts";
import { firstMessage, type Pinned, start, type Usage, usageOf } from "./processes.ts";
import type { Running } from "./subjects/subject.ts";

const fileOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

export interface Rig {
  readonly upstream: { readonly url: string; readonly port: number };
  /** Settings that name the upstream over TLS, and trust it. @throws Error where there is no openssl */
  secure(): Record<string, string>;
  /** Processor time of upstream and load so far, microseconds each. */
  busy(): readonly [upstreamUs: number, loadUs: number];
  tell<K extends Order["do"]>(order: Extract<Order, { do: K }>): Promise<Answers[K]>;
  stop(): Promise<void>;
}

export async function startRig(): Promise<Rig> {
  const node = (name: string, ...rest: string[]): Pinned =>
    start({ command: process.execPath, args: [fileOf(name), ...rest], place: "load", talks: true });
  const folder = mkdtempSync(join(tmpdir(), "bench-"));
  const upstream = node("upstream.ts", ...(makeCertificate(folder) ? [folder] : []));
  const load = node("load.ts");
  const [{ port, securePort }] = (await Promise.all([firstMessage(upstream), firstMessage(load)])) as [
    { port: number; securePort?: number },
    unknown,
  ];
  return {
    upstream: { url: `http://127.0.0.1:${port}/v1`, port },
    secure() {
      if (securePort === undefined) throw new Error("no certificate could be made: openssl is not installed");
      return {
        OPENAI_BASE_URL: `https://localhost:${securePort}/v1`,
        NODE_EXTRA_CA_CERTS: join(folder, "chain.pem"),
      };
    },
    busy: () => [living(upstream).cpuUs, living(load).cpuUs],
    async tell(order) {
      const answered = once(load.child, "message");
      load.child.send(order);
      const [{ answer }] = (await answered) as [{ answer: never }];
      return answer;
    },
    async stop() {
      await Promise.all([upstream.stop(), load.stop()]);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function living(pinned: Pinned): Usage {
  if (pinned.child.exitCode !== null) throw new Error(`upstream or load exited: ${pinned.output()}`);
  return usageOf(pinned.pid);
}

/** @returns whether it could: the upstream then also speaks HTTP/2 over TLS */
function makeCertificate(folder: string): boolean {
  const names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  const files = ["-keyout", join(folder, "key.pem"), "-out", join(folder, "chain.pem")];
  return (
    spawnSync("openssl", ["req", "-x509", ...kind, ...files, ...names], { stdio: "ignore" }).status === 0
  );
}

/** What one subject did in one window. */
export interface Measured {
  /** Events that readers received in the window. */
  readonly chunks: number;
  /** Microseconds of the subject's processor for each of them; undefined where there is no subject. */
  readonly usPerChunk?: number;
  /** `read` calls of the subject for each; nginx's are not counted by the kernel. */
  readonly chunksPerRead?: number;
  readonly chunksPerWrite?: number;
  readonly rssKb?: number;
  /** Processor time of the subject in the window, microseconds. */
  readonly cpuUs?: number;
  /** Shares of one core. */
  readonly subjectUse?: number;
  /** Of the window: the subject was ready to run and others had its core. */
  readonly waitShare?: number;
  readonly upstreamUse: number;
  readonly loadUse: number;
  readonly window: Window;
  readonly totals: Totals;
}

/** Starts what the plan says, lets it settle, measures for `seconds`, and waits for all streams' ends. */
export async function measure(rig: Rig, running: Running, plan: Plan, timing: Timing): Promise<Measured> {
  await rig.tell({ do: "run", plan });
  await sleep(Math.max(0, plan.rampMs + timing.settleMs));
  const from = take(rig, running);
  const opened = await rig.tell({ do: "window" });
  await sleep(timing.seconds * 1000);
  const to = take(rig, running);
  const window = await rig.tell({ do: "window" });
  const totals = await rig.tell({ do: "finish", withinMs: timing.endMs });
  const chunks = window.received - opened.received;
  const wallUs = (to.at - from.at) * 1000;
  const [upstreamUse, loadUse] = [0, 1].map((n) => ((to.busy[n] ?? 0) - (from.busy[n] ?? 0)) / wallUs);
  const shared = { chunks, upstreamUse: upstreamUse ?? 0, loadUse: loadUse ?? 0, window, totals };
  if (from.usage === undefined || to.usage === undefined) return shared;
  const cpuUs = to.usage.cpuUs - from.usage.cpuUs;
  const reads = to.usage.reads - from.usage.reads;
  const writes = to.usage.writes - from.usage.writes;
  return {
    ...shared,
    cpuUs,
    usPerChunk: cpuUs / chunks,
    subjectUse: cpuUs / wallUs,
    waitShare: (to.usage.waitUs - from.usage.waitUs) / wallUs,
    rssKb: to.usage.rssKb,
    ...(running.countsCalls ? { chunksPerRead: chunks / reads, chunksPerWrite: chunks / writes } : {}),
  };
}

export interface Timing {
  /** After the ramp; negative where the window opens during it. */
  readonly settleMs: number;
  readonly seconds: number;
  /** How long after the window the last stream may take to its end. */
  readonly endMs: number;
}

function take(rig: Rig, { pid }: Running) {
  const busy = rig.busy();
  return { busy, usage: pid === undefined ? undefined : usageOf(pid), at: performance.now() };
}
