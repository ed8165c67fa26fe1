/**
 * Many thousands of requests under random faults, departures and stalls, through one gateway: each ends exactly once, and
 * nothing stays behind. `SLUICE_SOAK_SEED` and `SLUICE_SOAK_REQUESTS` choose another run.
 */
import { queryObjects } from "node:v8";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Attempt } from "../../src/core/attempt.ts";
import { Generation } from "../../src/core/generation.ts";
import { Reader } from "../../src/core/reader.ts";
import { Session } from "../../src/routes/session.ts";
import { Delivery } from "../../src/transport/deliver.ts";
import { Pump } from "../../src/upstream/pump.ts";
import { until } from "../support/gateway.ts";
import { forEach } from "../support/replay.ts";
import { figures, heapMb, held, outcomes } from "../support/soak/counts.ts";
import { events, type Soaked, stock, whole } from "../support/soak/http.ts";
import { type Plan, plans } from "../support/soak/plans.ts";
import { Sockets } from "../support/soak/socket.ts";
import { startOverUpstreams, type UpstreamsGateway } from "../support/upstreams.ts";

const SEED = Number(process.env["SLUICE_SOAK_SEED"] ?? 20_260_101);
const REQUESTS = Number(process.env["SLUICE_SOAK_REQUESTS"] ?? 10_000);
const WARM_UP = 500;
const AT_ONCE = 64;
/** What the heap may grow between the halves, each read after a full collection. A leak of 2 KB a request would be 10 MB. */
const HEAP_MARGIN_MB = 8;
const LIMIT_MS = 600_000;

const LIMITS = {
  // Fewer than ask at once: some wait, and some of those find the line full.
  SLUICE_MAX_CONCURRENCY: "24",
  SLUICE_MAX_QUEUE: "8",
  SLUICE_EARLY_HEADERS_MS: "30",
  SLUICE_HEARTBEAT_MS: "5000",
  SLUICE_FIRST_TOKEN_TIMEOUT_MS: "250",
  SLUICE_STALL_TIMEOUT_MS: "200",
  SLUICE_TOTAL_TIMEOUT_MS: "400",
  SLUICE_WRITE_STALL_MS: "300",
  SLUICE_DISCONNECT_GRACE_MS: "100",
  SLUICE_RETENTION_MS: "3000",
};

/** Objects that live no longer than a request, its retention and its connection; with each go its log, timers and waiters. */
const SHORT_LIVED = { Generation, Attempt, Pump, Reader, Delivery, Session };
/** A connection that is kept may still hold the last request that it carried. */
const STRAYS = 4;
const alive = (): Record<string, number> =>
  Object.fromEntries(
    Object.entries(SHORT_LIVED).map(([name, kind]) => [name, queryObjects(kind, { format: "count" })]),
  );

const inOrder = (counts: Record<string, number>): Record<string, number> =>
  Object.fromEntries(Object.entries(counts).sort(([, a], [, b]) => b - a));

describe("a long run", () => {
  const before = held();
  let gateway: UpstreamsGateway;
  let at: Soaked;
  const waiting = new Map<string, () => void>();
  const tally: Record<string, number> = {};
  const warnings: string[] = [];
  const warned = ({ name, message }: Error): void => {
    // The one of `queryObjects` itself.
    if (name !== "ExperimentalWarning") warnings.push(`${name}: ${message}`);
  };

  beforeAll(async () => {
    process.on("warning", warned);
    gateway = await startOverUpstreams(
      [{ name: "a" }, { name: "b", member: { models: ["both"], maxConcurrency: 10 } }],
      LIMITS,
    );
    programme();
    const { url, wsUrl } = gateway;
    const seen = (name: string): Promise<void> =>
      new Promise((resolve) => {
        waiting.set(name, resolve);
      });
    at = { url, wsUrl, sent: 0, seen };
  });
  afterAll(async () => {
    process.off("warning", warned);
    await gateway?.close();
  });

  /** A plays each request's own script and tells who waits for it that it is here; B serves what A has failed. */
  function programme(): void {
    gateway.emulator("a").script = ({ user }) => {
      waiting.get(String(user))?.();
      return undefined;
    };
    gateway.emulator("b").script = ({ user }) => {
      waiting.get(String(user))?.();
      return { tokens: 8 };
    };
  }

  const sockets = (): number => (held()["TCPSocketWrap"] ?? 0) - (before["TCPSocketWrap"] ?? 0);

  async function run(work: readonly Plan[]): Promise<void> {
    const shared = new Sockets(at);
    const clients = { stock, whole, events, socket: (_: Soaked, plan: Plan) => shared.run(plan) };
    await forEach(work, AT_ONCE, async (plan) => {
      const ending = `${plan.transport}: ${await clients[plan.transport](at, plan)}`;
      tally[ending] = (tally[ending] ?? 0) + 1;
    });
    await shared.close();
    waiting.clear();
  }

  /** Every gauge is back at 0, and what was kept for replay is forgotten. */
  async function quiet(): Promise<void> {
    const gauges = [
      "generations_active",
      "generations_retained",
      "retained_bytes",
      "upstream_in_flight",
      "queue_depth",
      "readers",
      "websocket_connections",
    ];
    await until("all gauges are back at 0", async () => {
      const now = await figures(at.url);
      return gauges.every((name) => now(name) === 0);
    });
    await until("no upstream still answers", () =>
      ["a", "b"].every((name) => gateway.emulator(name).stats.open === 0),
    );
    // Idle connections to the upstreams are kept, at most one for each slot; both their ends are in this process.
    const kept = 2 * Number(LIMITS.SLUICE_MAX_CONCURRENCY);
    await until("no other socket is left", () => sockets() <= kept);
  }

  /** Checked where it is quiet. @returns megabytes of heap in use */
  function measured(): number {
    for (const name of ["a", "b"]) {
      expect(gateway.emulator(name).stats.sent_after_abort).toBe(0);
      // Its records are the test's own, and would be taken for a leak.
      gateway.emulator(name).reset();
    }
    programme();
    expect(Object.entries(alive()).filter(([, count]) => count > STRAYS)).toEqual([]);
    return heapMb();
  }

  test(
    `of ${REQUESTS} requests leaves each with one ending, and nothing behind`,
    async () => {
      const [warmUp, all] = [plans(SEED + 1, WARM_UP), plans(SEED, REQUESTS)];
      await run(warmUp);
      await quiet();
      const [atStart, timers] = [measured(), held()["Timeout"]];
      await run(all.slice(0, REQUESTS / 2));
      await quiet();
      const atHalf = measured();
      await run(all.slice(REQUESTS / 2));
      await quiet();
      const atEnd = measured();

      const counted = await outcomes(at.url);
      const heap = [atStart, atHalf, atEnd].map((mb) => mb.toFixed(1)).join(", ");
      console.log(`seed ${SEED}; heap of ${heap} MB after warm-up, half and end`);
      console.log("outcomes", counted, "endings", inOrder(tally));
      expect(Object.values(counted).reduce((sum, count) => sum + count, 0)).toBe(at.sent);
      // One or two of the test runner's own come and go.
      expect(held()["Timeout"] ?? 0).toBeLessThanOrEqual((timers ?? 0) + 2);
      expect(warnings).toEqual([]);
      expect(atEnd - atHalf).toBeLessThan(HEAP_MARGIN_MB);
    },
    LIMIT_MS,
  );

  test("saw every kind of ending", async () => {
    const counted = await outcomes(at.url);
    const wanted = ["completed", "failed", "cancelled", "disconnected", "attached", "queue_full"];
    expect(Object.keys(counted)).toEqual(expect.arrayContaining(wanted));
    const now = await figures(at.url);
    expect(now("upstream_retries_total")).toBeGreaterThan(0);
    expect(now("slow_readers_total")).toBeGreaterThan(0);
    expect(now("no_first_token_total")).toBeGreaterThan(0);
    expect(now("resumes_total", `outcome="resumed"`)).toBeGreaterThan(0);
  });

  test("leaves the process as it was, once the gateway is closed", async () => {
    await gateway.close();
    await until("sockets and timers are gone", () =>
      ["TCPSocketWrap", "Timeout"].every((kind) => (held()[kind] ?? 0) <= (before[kind] ?? 0) + 1),
    );
  });
});
