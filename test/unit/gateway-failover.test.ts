import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type ErrorCode, Fault } from "../../src/core/errors.ts";
import type { AttemptEnd } from "../../src/core/ports.ts";
import {
  failed,
  newHouse,
  payloadsOf,
  ScriptedUpstream,
  type TestHouseOptions,
  turn,
} from "../support/core.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Two upstreams, the first preferred. */
function twoUpstreams(limits: TestHouseOptions["limits"] = {}, maxConcurrency?: number) {
  const [main, spare] = [new ScriptedUpstream("main", maxConcurrency), new ScriptedUpstream("spare")];
  return { ...newHouse({ limits, upstreams: () => [main, spare] }), main, spare };
}

const refused = (status: number): AttemptEnd => ({
  status: "failed",
  fault: new Fault("upstream_error", { said: { status, body: Buffer.from("{}") } }),
});

describe("an attempt that fails before content", () => {
  it("is made again at the next upstream, and nobody sees it", async () => {
    const { main, spare, seen, start } = twoUpstreams();
    const generation = await start();
    main.at().other("role of main").end(failed("upstream_disconnected")).close();
    await turn();
    spare.at().other("role of spare").content("a").end().close();
    await turn();
    expect([generation.status, payloadsOf(generation.log)]).toEqual(["completed", ["role of spare", "a"]]);
    expect(generation).toMatchObject({ upstream: "spare", attempts: 2 });
    expect(seen.of("upstreamRetried")).toEqual([["main", "upstream_disconnected"]]);
    expect([seen.of("admitted").length, seen.outcomes]).toEqual([1, ["completed"]]);
  });

  it("is observed from acceptance to the end, attempt by attempt", async () => {
    const { main, spare, seen, start } = twoUpstreams();
    const { facts } = await start({ origin: { requestId: "req_1" } });
    const broken = failed("upstream_disconnected");
    main.at().end(broken).close();
    await turn();
    spare
      .at()
      .content("a")
      .end({ status: "completed", finishReasons: ["stop"] })
      .close();
    await turn();
    expect(facts).toMatchObject({
      origin: { requestId: "req_1" },
      generation: expect.stringMatching(/^gen_/),
    });
    const names = ["accepted", "admitted", "attempted", "attemptEnded", "firstContent", "ended"];
    expect(seen.calls.map(({ name }) => name).filter((name) => names.includes(name))).toEqual([
      ...["accepted", "admitted", "attempted", "attemptEnded", "attempted", "firstContent", "attemptEnded"],
      "ended",
    ]);
    expect(seen.of("accepted")).toMatchObject([[facts, { endpoint: "/v1/chat/completions", stream: true }]]);
    expect(seen.of("attempted")).toEqual([
      [facts, "main"],
      [facts, "spare"],
    ]);
    expect(seen.of("attemptEnded")).toEqual([
      [facts, broken],
      [facts, { status: "completed", finishReasons: ["stop"] }],
    ]);
    expect(seen.of("ended")).toMatchObject([[{ ...facts, upstream: "spare", attempts: 2 }]]);
  });

  it("has one clock for all attempts, from the first one's start", async () => {
    const { main, spare, start } = twoUpstreams();
    await start();
    await vi.advanceTimersByTimeAsync(1000);
    main.at().end(failed("upstream_unreachable")).close();
    await turn();
    expect(spare.at().call).toBe(main.at().call);
  });

  it.each<[ErrorCode | number, boolean]>([
    ["upstream_unreachable", true],
    ["upstream_disconnected", true],
    ["upstream_error", true],
    [408, true],
    [429, true],
    [400, false],
    [404, false],
    [422, false],
    ["log_limit", false],
    ["internal_error", false],
  ])("for %s: moves on is %s", async (why, movesOn) => {
    const { main, spare, start } = twoUpstreams();
    const generation = await start();
    main
      .at()
      .end(typeof why === "number" ? refused(why) : failed(why))
      .close();
    await turn();
    expect([spare.attempts.length, generation.isEnded]).toEqual(movesOn ? [1, false] : [0, true]);
  });

  it("by its own timeout moves on only while the request's time is not up", async () => {
    const { main, spare, start } = twoUpstreams({ firstTokenTimeoutMs: 1000 });
    const [early, late] = [await start(), await start()];
    main.at(0).end(failed("upstream_timeout")).close();
    await vi.advanceTimersByTimeAsync(1000);
    main.at(1).end(failed("upstream_timeout")).close();
    await turn();
    expect([early.isEnded, late.isEnded, spare.attempts.length]).toEqual([false, true, 1]);
  });

  it("at the last upstream ends the generation with that failure", async () => {
    const { main, spare, start } = twoUpstreams();
    const generation = await start();
    main.at().end(failed("upstream_disconnected")).close();
    await turn();
    spare.at().end(failed("upstream_unreachable")).close();
    await turn();
    expect([generation.status, generation.log.ending?.fault?.code]).toEqual([
      "failed",
      "upstream_unreachable",
    ]);
    expect([main.attempts.length, spare.attempts.length]).toEqual([1, 1]);
  });

  it("holds no slot while the next waits for one, and the retry goes before those that have not begun", async () => {
    const { gateway, main, spare, start } = twoUpstreams({ maxConcurrency: 1 });
    const [retried, waiting] = [await start(), await start()];
    main.at().end(failed("upstream_unreachable")).close();
    await turn();
    expect([spare.attempts.length, retried.status, waiting.status]).toEqual([1, "running", "queued"]);
    expect(gateway.levels).toMatchObject({ inFlight: 1, queueDepth: 1 });
  });
});

describe("an attempt that is not made again", () => {
  it("failed after content", async () => {
    const { main, spare, start } = twoUpstreams();
    const generation = await start();
    main.at().content("a").end(failed("upstream_disconnected")).close();
    await turn();
    expect([spare.attempts.length, generation.status]).toEqual([0, "failed"]);
  });

  it("was stopped", async () => {
    const { gateway, main, spare, seen, start } = twoUpstreams();
    const generation = await start();
    generation.cancel("cancelled");
    main.at().end(failed("upstream_disconnected")).close();
    await turn();
    expect([spare.attempts.length, generation.status, gateway.levels.inFlight]).toEqual([0, "cancelled", 0]);
    expect(seen.of("upstreamRetried")).toEqual([]);
  });

  it("was stopped while the next one waited for its slot", async () => {
    const [main, busy] = [new ScriptedUpstream("main"), new ScriptedUpstream("busy", 1)];
    const house = newHouse({ upstreams: () => [main, busy] });
    const [first, second] = [await house.start(), await house.start()];
    main.at(0).end(failed("upstream_unreachable")).close();
    await turn();
    main.at(1).end(failed("upstream_unreachable")).close();
    await turn();
    expect([busy.attempts.length, house.gateway.levels.queueDepth]).toEqual([1, 1]);
    second.cancel("cancelled");
    await turn();
    expect([second.status, house.gateway.levels.queueDepth, first.status]).toEqual([
      "cancelled",
      0,
      "running",
    ]);
  });
});

describe("the choice of the first upstream", () => {
  it("prefers one that is well, and asks the other when nothing else is left", async () => {
    const { main, spare, start } = twoUpstreams();
    main.isWell = false;
    await start();
    expect([main.attempts.length, spare.attempts.length]).toEqual([0, 1]);
    spare.at().end(failed("upstream_unreachable")).close();
    await turn();
    expect(main.attempts).toHaveLength(1);
  });

  it("passes over one that is full", async () => {
    const { main, spare, start } = twoUpstreams({}, 1);
    await start();
    await start();
    expect([main.attempts.length, spare.attempts.length]).toEqual([1, 1]);
  });
});
