/** Cancelled, left and attached to, in every state and by every way: what is counted, and under which name. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { Script } from "../../src/emulator/index.ts";

import {
  ALL,
  type Asked,
  type Asker,
  type AskOptions,
  cancelById,
  JSON_ASKER,
  STOCK,
  STREAMED,
  UNREAD,
  WEBSOCKET,
} from "../support/askers.ts";
import { type TestGateway, until } from "../support/gateway.ts";
import { at, type Series } from "../support/metrics.ts";
import { look, startGeneration } from "../support/requests.ts";
import { type Moved, scrapeOf, sumOf, total, type Work } from "../support/scrape.ts";
import {
  asked,
  countedEvents,
  ended,
  holdSlot,
  IDLE,
  movedBy,
  RELEASED,
  refused,
  silent,
  startKnowing,
  streamedEvents,
  vanished,
} from "../support/truth.ts";
import { WsClient } from "../support/ws-client.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startKnowing({
    SLUICE_MAX_CONCURRENCY: "1",
    // The headers name the generation, which a client must know to cancel it.
    SLUICE_EARLY_HEADERS_MS: "20",
    SLUICE_DISCONNECT_GRACE_MS: "50",
  });
});
afterAll(() => gateway.close());
afterEach(() => until("the upstream has been heard", () => gateway.emulator.stats.open === 0));

/** Content events that come before the upstream falls silent. */
const EVENTS = 2;

type State = "queued" | "before_first_token" | "streaming";
const STATES: readonly State[] = ["queued", "before_first_token", "streaming"];
const SCRIPTS: Readonly<Record<State, Script>> = {
  queued: { text: "never asked for" },
  before_first_token: { tokens: 9, fault: { kind: "hang" } },
  streaming: { tokens: 9, fault: { kind: "hang", after_tokens: EVENTS } },
};

const scrape = (): Promise<Series> => scrapeOf(gateway.url);
const answers = (series: Series): number => total(series, "upstream_requests_total", 'code="200"');

/** Asks, and waits until the request is in that state for good. */
async function brought(asker: Asker, state: State, options: AskOptions = {}): Promise<Asked> {
  const before = await scrape();
  gateway.emulator.queue([SCRIPTS[state]]);
  const client = asker.ask(gateway, options);
  await until(`it is ${state}`, async () => {
    const now = await scrape();
    if (total(now, "readers_total") - total(before, "readers_total") !== (asker.reader === undefined ? 0 : 1))
      return false;
    if (state === "queued") return at(now, "queue_depth") === 1;
    if (answers(now) === answers(before)) return false;
    if (state === "before_first_token") return true;
    if (asker.reader !== undefined) return client.seen() === EVENTS;
    return (
      total(now, "inter_token_latency_seconds_count") > total(before, "inter_token_latency_seconds_count")
    );
  });
  return client;
}

/** What a generation of that state moved when it was stopped there, readers aside. */
function stopped(asker: Asker, state: State, outcome: "cancelled" | "disconnected"): Moved {
  const end = ended(outcome, asker);
  if (state === "queued") return asker.reader === "json" ? end : sumOf(end, silent(outcome));
  if (asker.reader === "json") return sumOf(end, asked(200));
  if (state === "before_first_token") return sumOf(end, asked(200), silent(outcome));
  return sumOf(end, asked(200), streamedEvents(EVENTS, asker), countedEvents(EVENTS));
}

/** Does it while the slot is free, or while another generation has it. */
async function inState(state: State, act: () => Promise<void>): Promise<Moved> {
  if (state !== "queued") return movedBy(gateway, act);
  const held = await holdSlot(gateway);
  const HOLDER: Work = { ...IDLE, inFlight: 1, active: 1 };
  const rise = await movedBy(gateway, act, HOLDER);
  expect(await movedBy(gateway, held.release)).toEqual(RELEASED);
  return rise;
}

describe.each([...STREAMED, UNREAD])("cancelled by $name", (asker) => {
  test.each(STATES)("%s", async (state) => {
    const rise = await inState(state, async () => {
      const policy = { policy: "continue" } as const;
      const client = await brought(asker, state, asker.reader === undefined ? policy : {});
      await client.cancel();
      await client.over;
    });
    expect(rise).toEqual(stopped(asker, state, "cancelled"));
  });
});

const LEAVING = ALL.filter(({ reader }) => reader !== undefined);
const STATES_AND_POLICIES = STATES.flatMap((state) =>
  (["cancel", "grace"] as const).map((policy) => ({ state, policy })),
);

describe.each(LEAVING)("left by a client on $name", (asker) => {
  const states = STATES_AND_POLICIES.filter(({ state }) => asker !== JSON_ASKER || state !== "streaming");
  test.each(states)("$state, policy $policy", async ({ state, policy }) => {
    const rise = await inState(state, async () => {
      (await brought(asker, state, { policy })).leave();
    });
    expect(rise).toEqual(sumOf(stopped(asker, state, "disconnected"), vanished(asker.reader, state)));
  });
});

describe.each([STOCK, WEBSOCKET])("left by a client on $name, policy continue", (asker) => {
  test("while it waits: it completes for nobody", async () => {
    const held = await holdSlot(gateway);
    const rise = await movedBy(gateway, async () => {
      const client = await brought(asker, "queued", { policy: "continue" });
      client.leave();
      await until("nobody reads", async () => total(await scrape(), "readers") === 0);
      await held.release();
    });
    const tokens = Number(rise["tokens_total events output"]);
    expect(tokens).toBe(gateway.emulator.requests().at(-1)?.tokens_sent);
    expect(rise).toEqual(
      sumOf(
        RELEASED,
        ended("completed", asker),
        asked(200),
        vanished(asker.reader, "queued"),
        streamedEvents(tokens, { reader: undefined }),
        countedEvents(tokens),
      ),
    );
  });

  test("in mid-stream: it is the cancel that ends it", async () => {
    const rise = await movedBy(gateway, async () => {
      const client = await brought(asker, "streaming", { policy: "continue" });
      client.leave();
      await until("nobody reads", async () => total(await scrape(), "readers") === 0);
      expect(at(await scrape(), "generations_active")).toBe(1);
      await cancelById(gateway, await client.generation());
    });
    expect(rise).toEqual(
      sumOf(stopped(asker, "streaming", "cancelled"), vanished(asker.reader, "streaming")),
    );
  });
});

test("a generation that nobody ever reads is disconnected after its grace, and nobody vanished", async () => {
  gateway.emulator.queue([SCRIPTS.streaming]);
  const rise = await movedBy(gateway, () => UNREAD.ask(gateway).over);
  // How far its upstream came within the grace is the machine's affair.
  expect(rise).toMatchObject({ ...ended("disconnected", UNREAD), queue_wait_seconds_count: 1 });
  expect(Object.keys(rise).filter((name) => /^(reader|time_to_first)/.test(name))).toEqual([]);
});

test("to unsubscribe is no vanishing", async () => {
  const rise = await movedBy(gateway, async () => {
    gateway.emulator.queue([SCRIPTS.streaming]);
    const client = await WsClient.open(gateway.wsUrl);
    const request = { model: "sluice-demo", messages: [] };
    client.send({ type: "generate", id: "a", request, on_disconnect: "cancel" });
    await client.next(({ seq }) => seq === 1 + EVENTS);
    await client.ask({ type: "unsubscribe", id: "a" }, "unsubscribed");
    await client.close();
  });
  expect(rise).toEqual(stopped(WEBSOCKET, "streaming", "disconnected"));
});

describe.each([...STREAMED, UNREAD])("attached by $name", (asker) => {
  test("while it runs: a reader, and nothing of the generation", async () => {
    const options = { idempotencyKey: `running ${asker.name}`, policy: "continue" } as const;
    let end = async (): Promise<void> => {};
    const whole = await movedBy(gateway, async () => {
      const first = await brought(asker, "streaming", options);
      const held: Work = { ...IDLE, inFlight: 1, active: 1 };
      const readers = asker.reader === undefined ? 0 : 1;
      const again: Asked[] = [];
      const rise = await movedBy(
        gateway,
        async () => {
          again.push(asker.ask(gateway, options));
        },
        { ...held, readers: 2 * readers },
      );
      expect(rise).toEqual(attachedBy(asker));
      end = async () => {
        await first.cancel();
        await Promise.all([first.over, ...again.map(({ over }) => over)]);
      };
      await end();
    });
    expect(whole).toEqual(sumOf(stopped(asker, "streaming", "cancelled"), attachedBy(asker)));
  });
});

test("attached by JSON, after the answer", async () => {
  const options = { idempotencyKey: "whole" };
  await JSON_ASKER.ask(gateway, options).over;
  expect(await movedBy(gateway, async () => JSON_ASKER.ask(gateway, options).over)).toEqual(
    attachedBy(JSON_ASKER),
  );
});

const attachedBy = ({ transport, reader }: Asker): Moved => ({
  ...refused("attached", transport),
  ...(reader === undefined ? {} : { [`readers_total ${reader}`]: 1 }),
});

test("while one of two readers stays, the other's leaving is a vanishing and no ending", async () => {
  const { id } = await startGeneration(gateway.url, SCRIPTS.streaming, { on_disconnect: "continue" });
  const staying = await WsClient.open(gateway.wsUrl);
  const leaving = await WsClient.open(gateway.wsUrl);
  for (const client of [staying, leaving]) {
    await client.ask({ type: "subscribe", id: "s", generation: id }, "accepted");
    await client.next(({ seq }) => seq === 1 + EVENTS);
  }
  const work: Work = { readers: 1, queued: 0, inFlight: 1, active: 1 };
  const rise = await movedBy(gateway, async () => leaving.terminate(), work);
  expect(rise).toEqual(vanished("websocket", "streaming"));
  expect((await look(gateway.url, id)).status).toBe("running");
  staying.send({ type: "cancel", id: "s" });
  await staying.end(id);
  await staying.close();
});
