/** Hostile upstreams and settings, seeded: no crash, no hang, one ending each, and no fault that is the gateway's own. */
import net, { type AddressInfo } from "node:net";
import fc from "fast-check";
import type { Dispatcher } from "undici";
import { expect, test } from "vitest";
import { ConfigError, readCommand } from "../../src/config.ts";
import type { AttemptEnd, Intake } from "../../src/core/ports.ts";
import { chat as dialect } from "../../src/dialect/chat.ts";
import { ResponseBody } from "../../src/upstream/body.ts";
import { Pump } from "../../src/upstream/pump.ts";
import { Watchdog } from "../../src/upstream/watchdog.ts";
import { batches, count, inTime, printCounts, SEED, spread } from "../support/fuzz-run.ts";
import * as draw from "../support/fuzz-upstream.ts";
import { startProcess } from "../support/gateway.ts";
import { post } from "../support/requests.ts";

const SENT = { upstream: 5000, pump: 20_000, config: 10_000 };
const SECONDS = 1000;

test("what an upstream sends", { timeout: 120 * SECONDS }, async () => {
  const queue: Buffer[] = [];
  const raw = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.end(queue.shift() ?? ""));
  });
  await new Promise<void>((resolve) => raw.listen(0, "127.0.0.1", resolve));
  const { port } = raw.address() as AddressInfo;
  const behind = await startProcess({
    OPENAI_BASE_URL: `http://127.0.0.1:${port}/v1`,
    SLUICE_FIRST_TOKEN_TIMEOUT_MS: "2000",
    SLUICE_TOTAL_TIMEOUT_MS: "2000",
    SLUICE_STALL_TIMEOUT_MS: "2000",
  });
  await spread(batches(draw.upstreamBytes, SENT.upstream, 50), 4, async (batch, n) => {
    for (const [at, bytes] of batch.entries()) {
      queue.push(bytes);
      const body = { model: "m", messages: [], stream: at % 3 !== 0 };
      const asked = post(`${behind.url}/v1/chat/completions`, body);
      const { status, text } = await inTime(
        `batch ${n} of the upstream`,
        asked.then(async (answer) => ({ status: answer.status, text: await answer.text() })),
      );
      count("upstream", `${String(status)[0]}xx`);
      if (text.includes("internal_error"))
        throw new Error(`batch ${n}, seed ${SEED}: ${bytes.toString("latin1")}: ${text}`);
    }
    count("upstream", "sent", batch.length);
  });
  expect(behind.child.exitCode, behind.output()).toBeNull();
  expect(behind.output()).not.toMatch(/internal error|unexpected fault/);
  await behind.stop();
  raw.close();
});

test("what an upstream sends, cut anywhere, through the pump", { timeout: 60 * SECONDS }, async () => {
  const limits = { stallTimeoutMs: 10_000, maxEventBytes: 300 };
  const drawn = fc.tuple(draw.upstreamBytes, fc.integer({ min: 1, max: 60 }));
  await spread(batches(drawn, SENT.pump, 500), 4, async (batch, n) => {
    for (const [bytes, size] of batch) {
      const ends: AttemptEnd[] = [];
      let appended = 0;
      const intake: Intake = {
        sent() {},
        answered() {},
        append: () => void appended++,
        flush() {},
        get hasContent() {
          return appended > 0;
        },
        settled: Promise.resolve(undefined),
        end: (end) => void ends.push(end),
      };
      const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) =>
        bytes.subarray(at * size, (at + 1) * size),
      );
      const firstContentBy = performance.now() + 10_000;
      const call = {
        endpoint: "/v1/chat/completions",
        model: "m",
        body: bytes,
        stream: true,
        choices: 1,
        withholdUsage: false,
        firstContentBy,
      };
      const body = new ResponseBody({
        abort: () => body.finish("broken"),
      } as unknown as Dispatcher.DispatchController);
      const watchdog = new Watchdog(firstContentBy, () => {});
      const running = new Pump(body, dialect.translator(call), intake, watchdog, limits).run();
      for (const piece of pieces) body.take(piece, 0, piece.length);
      body.finish("whole");
      await inTime(`batch ${n} of the pump`, running);
      expect(ends).toHaveLength(1);
      count("pump", ends[0]?.status ?? "");
    }
    count("pump", "sent", batch.length);
  });
});

test("settings", { timeout: 60 * SECONDS }, () => {
  for (const [n, batch] of batches(draw.settings, SENT.config, 500)) {
    for (const { args, env, file } of batch) {
      try {
        count("config", readCommand(args, env, () => file).kind);
      } catch (thrown) {
        if (!(thrown instanceof ConfigError)) throw new Error(`batch ${n}, seed ${SEED}`, { cause: thrown });
        expect(thrown.message).not.toContain("\n");
        count("config", "refused");
      }
    }
    count("config", "sent", batch.length);
  }
});

test("the counts", () => {
  expect(printCounts()).toBe(SENT.upstream + SENT.pump + SENT.config);
});
