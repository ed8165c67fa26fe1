/** Readers that are refused, that take nothing, and requests that are tried again: counted when it happens, and only then. */
import { afterEach, expect, test } from "vitest";
import { STOCK } from "../support/askers.ts";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import { eventsOf, look, post, startGeneration, verbatim } from "../support/requests.ts";
import { scrapeOf, total } from "../support/scrape.ts";
import { asked, ended, IDLE, movedBy, silent, startKnowing } from "../support/truth.ts";
import { startOverUpstreams } from "../support/upstreams.ts";
import { WsClient } from "../support/ws-client.ts";

const closes: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closes.splice(0)) await close();
});

const opened = <G extends { close(): Promise<void> }>(gateway: G): G => {
  closes.push(() => gateway.close());
  return gateway;
};

test("a subscription that is refused is no resume, and no reader", async () => {
  const gateway: TestGateway = opened(await startKnowing({}));
  const script = { tokens: 9, fault: { kind: "hang", after_tokens: 2 } } as const;
  const { id } = await startGeneration(gateway.url, script, { on_disconnect: "continue" });
  const client = await WsClient.open(gateway.wsUrl);
  await client.ask({ type: "subscribe", id: "a", generation: id }, "accepted");
  await client.next(({ seq }) => seq === 3);
  const running = { ...IDLE, readers: 1, inFlight: 1, active: 1 };
  const again = { type: "subscribe", id: "b", generation: id, starting_after: 2 };
  const refusal = await movedBy(gateway, () => client.ask(again, "error"), running);
  expect(client.messages.at(-1)?.error?.code).toBe("already_subscribed");
  expect(refusal).toEqual({});
  const unknown = { ...again, generation: "gen_unknown" };
  expect(await movedBy(gateway, () => client.ask(unknown, "error"), running)).toEqual({
    "resumes_total unknown websocket": 1,
  });
  client.terminate();
});

test("a reader that never takes its ending is a slow reader", async () => {
  const env = { SLUICE_INCLUDE_USAGE: "true", SLUICE_WRITE_STALL_MS: "500" };
  const gateway = opened(await startGateway({ env }));
  // More than the sockets' buffers hold, and all of it in the ending: the usage that was not asked for is withheld.
  const usage = { choices: [], usage: { completion_tokens: 1, padding: "x".repeat(14_000_000) } };
  const finish = { choices: [{ index: 0, delta: { content: "a" }, finish_reason: "stop" }] };
  const events = [finish, usage].map((event) => `data: ${JSON.stringify(event)}\n\n`).join("");
  gateway.emulator.queue([verbatim(`${events}data: [DONE]\n\n`)]);
  const { id } = await startGeneration(gateway.url, {}, { on_disconnect: "continue" });
  await until("it has ended", async () => (await look(gateway.url, id)).status === "completed");
  const reader = eventsOf(gateway.url, id);
  await reader.head;
  reader.pause();
  await until("it is cut off", async () => (await gateway.metric("sluice_slow_readers_total")) > 0);
  const series = await scrapeOf(gateway.url);
  expect(total(series, "slow_readers_total", 'transport="sse"')).toBe(1);
  expect(total(series, "slow_readers_total")).toBe(1);
  reader.resume();
  expect(await reader.ended).toBe("reset");
});

test("a retry counts once another upstream is asked, and not while the request waits for it", async () => {
  const gateway = opened(
    await startOverUpstreams(
      [
        { name: "a", script: { fault: { kind: "status", status: 500 } } },
        {
          name: "b",
          script: { tokens: 9, fault: { kind: "hang", after_tokens: 1 } },
          member: { maxConcurrency: 1 },
        },
      ],
      { SLUICE_DEFAULT_MODEL: "sluice-demo" },
    ),
  );
  const first = await startGeneration(gateway.url, {}, { on_disconnect: "continue" });
  await until("b has it", async () => (await look(gateway.url, first.id)).last_seq === 2);
  expect(
    await gateway.metric("sluice_upstream_retries_total", { upstream: "a", reason: "upstream_error" }),
  ).toBe(1);
  const second = await startGeneration(gateway.url, {}, { on_disconnect: "continue" });
  await until("a has refused it too", () => gateway.asked("a") === 2);
  await until("it waits for b", async () => (await gateway.metric("sluice_queue_depth")) === 1);
  await post(`${gateway.url}/v1/generations/${second.id}/cancel`, "");
  await until("it is over", async () => (await look(gateway.url, second.id)).status === "cancelled");
  await until("its place is free", async () => (await gateway.metric("sluice_queue_depth")) === 0);
  expect(await gateway.metric("sluice_upstream_retries_total")).toBe(1);
  expect(gateway.asked("b")).toBe(1);
  await post(`${gateway.url}/v1/generations/${first.id}/cancel`, "");
});

test("an upstream that cannot be reached is one request without an answer", async () => {
  const gateway = opened(await startKnowing({}));
  await gateway.emulator.close();
  expect(await movedBy(gateway, async () => STOCK.ask(gateway).over)).toEqual({
    ...ended("failed", STOCK),
    ...asked("upstream_unreachable"),
    ...silent("upstream_unreachable"),
  });
});
