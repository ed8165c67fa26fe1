/** Which upstream is asked: by room and by health. */
import { afterEach, describe, expect, test } from "vitest";
import type { Script } from "../../src/emulator/index.ts";
import { until } from "../support/gateway.ts";
import { chat, eventsOf, look, post, refusal, startGeneration } from "../support/requests.ts";
import { startOverUpstreams, type UpstreamPlan, type UpstreamsGateway } from "../support/upstreams.ts";
import { WsClient } from "../support/ws-client.ts";

let gateway: UpstreamsGateway | undefined;
afterEach(async () => {
  await gateway?.close();
  gateway = undefined;
});

async function over(plans: readonly UpstreamPlan[], env?: Record<string, string>): Promise<UpstreamsGateway> {
  gateway = await startOverUpstreams(plans, env);
  return gateway;
}

const status = (code: number, headers: Record<string, string> = {}): Script => ({
  fault: { kind: "status", status: code, headers },
});
const SAYS: Script = { text: "Through the lock." };
/** Speaks once, and then holds its slot until it is stopped. */
const HOLDS: Script = { text: "Through the lock.", fault: { kind: "hang", after_tokens: 1 } };

/** Who answered a request that is not streamed. */
async function servedBy({ url }: UpstreamsGateway, more: object = {}): Promise<string | null> {
  const answer = await post(`${url}/v1/chat/completions`, chat({}, more));
  await answer.arrayBuffer();
  return answer.status === 200 ? answer.headers.get("x-sluice-upstream") : null;
}

const running = (at: UpstreamsGateway, name: string, count: number): Promise<void> =>
  until(`${count} run at ${name}`, () => at.emulator(name).stats.open === count);

describe("a slot", () => {
  const ONE = { SLUICE_MAX_CONCURRENCY: "1" };

  test("of a failed attempt is given back before the next is taken", async () => {
    const at = await over(
      [
        { name: "a", script: status(500) },
        { name: "b", script: SAYS },
      ],
      ONE,
    );
    for (let n = 0; n < 3; n++) expect(await servedBy(at)).toBe("b");
    expect([at.asked("a"), at.asked("b")]).toEqual([3, 3]);
    expect(await at.metric("sluice_upstream_in_flight")).toBe(0);
  });

  test("is found again by an attempt where nobody may wait", async () => {
    const none = { ...ONE, SLUICE_MAX_QUEUE: "0" };
    const at = await over(
      [
        { name: "a", script: status(500) },
        { name: "b", script: SAYS },
      ],
      none,
    );
    expect(await servedBy(at)).toBe("b");
  });

  test("is found again by an attempt while the line is full, before those that wait", async () => {
    const full = { ...ONE, SLUICE_MAX_QUEUE: "1" };
    const slow = { first_token_ms: 300, ...status(500) };
    const at = await over(
      [
        { name: "a", script: slow },
        { name: "b", script: SAYS },
      ],
      full,
    );
    const first = servedBy(at);
    await running(at, "a", 1);
    const second = servedBy(at);
    await until("the line is full", async () => (await at.metric("sluice_queue_depth")) === 1);
    const third = await refusal(post(`${at.url}/v1/chat/completions`, chat({})));
    expect(third).toMatchObject({ status: 429, code: "queue_full" });
    expect([await first, await second]).toEqual(["b", "b"]);
    expect(await at.metric("sluice_requests_total", { outcome: "completed" })).toBe(2);
  });
});

describe("an upstream's own limit", () => {
  test("is kept, and what is beyond it goes to the next", async () => {
    const member = { maxConcurrency: 2 };
    const at = await over([
      { name: "a", script: HOLDS, member },
      { name: "b", script: HOLDS, member },
      { name: "c", script: HOLDS },
    ]);
    const ids: string[] = [];
    for (let n = 0; n < 7; n++) ids.push((await startGeneration(at.url, {})).id);
    await running(at, "c", 3);
    expect([at.asked("a"), at.asked("b"), at.asked("c")]).toEqual([2, 2, 3]);
    // A slot of the preferred one is taken again as soon as it is free.
    await post(`${at.url}/v1/generations/${ids[0]}/cancel`, {});
    await running(at, "a", 1);
    await startGeneration(at.url, {});
    await running(at, "a", 2);
    expect([at.asked("a"), at.asked("c")]).toEqual([3, 3]);
  });

  test("is kept while many come at once, and they wait for it", async () => {
    const script = { ...SAYS, first_token_ms: 20 };
    const at = await over([
      { name: "a", script, member: { maxConcurrency: 3 } },
      { name: "b", script, member: { maxConcurrency: 2 } },
    ]);
    const served = await Promise.all(Array.from({ length: 40 }, () => servedBy(at)));
    expect(served).not.toContain(null);
    expect(at.asked("a") + at.asked("b")).toBe(40);
    expect([at.emulator("a").stats.max_open, at.emulator("b").stats.max_open]).toEqual([3, 2]);
  });
});

describe("a second attempt that waits for its slot", () => {
  /** B's only slot is held; a request that A has failed waits for it. */
  async function waiting(): Promise<{ at: UpstreamsGateway; id: string }> {
    const at = await over([
      { name: "a", script: status(500) },
      { name: "b", script: HOLDS, member: { maxConcurrency: 1 } },
    ]);
    await startGeneration(at.url, {});
    await running(at, "b", 1);
    const { id } = await startGeneration(at.url, {});
    await until("it waits", async () => (await at.metric("sluice_queue_depth")) === 1);
    return { at, id };
  }

  test("is running to those who look, and a cancel ends it at once", async () => {
    const { at, id } = await waiting();
    expect(await look(at.url, id)).toMatchObject({ status: "running", last_seq: 0 });
    const reader = eventsOf(at.url, id);
    await reader.head;
    await post(`${at.url}/v1/generations/${id}/cancel`, {});
    await reader.ended;
    expect(reader.events.map(({ event }) => event)).toEqual(["end"]);
    expect(JSON.parse(reader.events[0]?.data ?? "")).toMatchObject({ status: "cancelled" });
    expect([at.asked("a"), at.asked("b")]).toEqual([2, 1]);
    expect(await at.metric("sluice_queue_depth")).toBe(0);
    expect(await at.metric("sluice_upstream_in_flight")).toBe(1);
  });

  test("can be cancelled over a WebSocket", async () => {
    const { at, id } = await waiting();
    const client = await WsClient.open(at.wsUrl);
    await client.ask({ type: "subscribe", id: "s", generation: id }, "accepted");
    client.send({ type: "cancel", id: "s" });
    expect(await client.end(id)).toMatchObject({ status: "cancelled", seq: 1 });
    expect(await at.metric("sluice_queue_depth")).toBe(0);
    await client.close();
  });
});

describe("an upstream that is not well", () => {
  test("is not asked after failures in a row, and its share goes to the next without a word", async () => {
    const at = await over([
      { name: "a", script: status(500) },
      { name: "b", script: SAYS },
    ]);
    const attempts: (string | null)[] = [];
    for (let n = 0; n < 8; n++) {
      const answer = await post(`${at.url}/v1/chat/completions`, chat({}));
      await answer.arrayBuffer();
      attempts.push(answer.headers.get("x-sluice-attempts"));
    }
    expect(attempts).toEqual(["2", "2", "2", "2", "2", "1", "1", "1"]);
    expect([at.asked("a"), at.asked("b")]).toEqual([5, 8]);
    expect(await at.metric("sluice_upstream_requests_total", { upstream: "a", code: "500" })).toBe(5);
    expect(await at.metric("sluice_upstream_requests_total", { upstream: "b", code: "200" })).toBe(8);
    expect(await at.metric("sluice_upstream_retries_total", { upstream: "a" })).toBe(5);
  });

  test("is asked all the same when nothing else is left", async () => {
    const at = await over([
      { name: "a", script: status(500) },
      { name: "b", script: status(500) },
    ]);
    for (let n = 0; n < 7; n++) expect(await servedBy(at)).toBeNull();
    for (const name of ["a", "b"]) at.emulator(name).script = () => SAYS;
    expect(await servedBy(at)).toBe("a");
  });

  test("is not asked for so long as it asked for, and then again", async () => {
    const at = await over([
      { name: "a", script: status(429, { "retry-after": "2" }) },
      { name: "b", script: SAYS },
    ]);
    expect(await servedBy(at)).toBe("b");
    at.emulator("a").script = () => SAYS;
    expect(await servedBy(at)).toBe("b");
    expect(at.asked("a")).toBe(1);
    await until("A is asked again", async () => (await servedBy(at)) === "a");
  });
});
