import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Admission, type AdmissionLimits, type Lease, type Target } from "../../src/core/admission.ts";
import { Fault } from "../../src/core/errors.ts";
import { faultCode, turn } from "../support/core.ts";
import { enter, placeRequest, type Visit } from "../support/gate.ts";

const newGate = (limits: Partial<AdmissionLimits> = {}): Admission =>
  new Admission({ maxConcurrency: 10, maxQueue: 10, queueMaxBytes: 1000, queueTimeoutMs: 1000, ...limits });

const A: Target = { name: "a", maxConcurrency: 1 };
const B: Target = { name: "b", maxConcurrency: 1 };
const FREE: Target = { name: "free" };
const only =
  (...targets: Target[]) =>
  () =>
    targets;

const areHeld = (...visits: Visit[]): boolean[] => visits.map(({ lease }) => lease !== undefined);

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

describe("a key's own limit", () => {
  it("keeps that key waiting and nobody else", async () => {
    const gate = newGate({ keyMaxConcurrency: 1 });
    const visits = [enter(gate, { key: "x" }), enter(gate, { key: "x" }), enter(gate, { key: "y" })];
    await turn();
    expect(areHeld(...visits)).toEqual([true, false, true]);
    expect([gate.inFlight, gate.depth]).toEqual([2, 1]);
    visits[2]?.lease?.release();
    await turn();
    expect(areHeld(...visits)).toEqual([true, false, true]);
    visits[0]?.lease?.release();
    await turn();
    expect(areHeld(...visits)).toEqual([true, true, true]);
  });

  it("is not loosened by a second release of the same lease", async () => {
    const gate = newGate({ keyMaxConcurrency: 1 });
    const first = enter(gate, { targets: only(A) });
    await turn();
    first.lease?.release();
    first.lease?.release();
    const visits = [enter(gate, { targets: only(A) }), enter(gate, { targets: only(A) })];
    await turn();
    expect(areHeld(...visits)).toEqual([true, false]);
  });

  it("of waiting requests is rate_limited, and another key still may wait", () => {
    const gate = newGate({ maxConcurrency: 1, keyMaxQueue: 1 });
    enter(gate, { key: "x" });
    enter(gate, { key: "x" });
    expect(faultCode(() => gate.enter(placeRequest({ key: "x" })))).toBe("rate_limited");
    expect(faultCode(() => enter(gate, { key: "y" }))).toBeUndefined();
    expect(gate.depth).toBe(2);
  });

  it("counts as full where the whole line is, whatever the key's share", () => {
    const gate = newGate({ maxConcurrency: 1, maxQueue: 1, keyMaxQueue: 1 });
    enter(gate, { key: "x" });
    enter(gate, { key: "x" });
    expect(faultCode(() => gate.enter(placeRequest({ key: "x" })))).toBe("queue_full");
  });
});

describe("an upstream's own limit", () => {
  it("keeps waiting those that need it, and nobody else", async () => {
    const gate = newGate();
    const [first, second, other] = [
      enter(gate, { targets: only(A) }),
      enter(gate, { targets: only(A) }),
      enter(gate, { targets: only(FREE) }),
    ];
    await turn();
    expect(areHeld(first, second, other)).toEqual([true, false, true]);
    expect(other.lease?.target).toBe(FREE);
    other.lease?.release();
    await turn();
    expect(second.lease).toBeUndefined();
    first.lease?.release();
    await turn();
    expect(second.lease?.target).toBe(A);
  });

  it("sends the request to the next in its order of preference", async () => {
    const gate = newGate();
    const visits = [1, 2, 3].map(() => enter(gate, { targets: only(A, B) }));
    await turn();
    expect(visits.map(({ lease }) => lease?.target)).toEqual([A, B, undefined]);
    visits[1]?.lease?.release();
    await turn();
    expect(visits[2]?.lease?.target).toBe(B);
  });

  it("is judged when the slot is free, by the order of that moment", async () => {
    const gate = newGate({ maxConcurrency: 1 });
    const held = enter(gate);
    let preferred = [A, B];
    const waiting = enter(gate, { targets: () => preferred });
    preferred = [B, A];
    await turn();
    held.lease?.release();
    await turn();
    expect(waiting.lease?.target).toBe(B);
  });

  it("lets every place go that one release has made room for", async () => {
    const gate = newGate({ keyMaxConcurrency: 1 });
    const held = enter(gate, { key: "x", targets: only(A) });
    // One waits for the key, the other for the upstream.
    const sameKey = enter(gate, { key: "x", targets: only(FREE) });
    const sameUpstream = enter(gate, { key: "y", targets: only(A) });
    await turn();
    expect(areHeld(sameKey, sameUpstream)).toEqual([false, false]);
    held.lease?.release();
    await turn();
    expect(areHeld(sameKey, sameUpstream)).toEqual([true, true]);
  });

  it("does not let the line outgrow its bound, however many slots are given back that nobody in it can use", async () => {
    const gate = newGate({ maxQueue: 2 });
    enter(gate, { targets: only(A) });
    const outcomes: (string | undefined)[] = [];
    for (let retry = 0; retry < 5; retry++) {
      const failing = enter(gate, { targets: only(FREE) });
      await turn();
      // As a failed attempt does: its slot back, and in the same breath a place for the next upstream, which is full.
      failing.lease?.release();
      outcomes.push(faultCode(() => enter(gate, { targets: only(A) })));
      await turn();
    }
    expect([outcomes, gate.depth]).toEqual([
      [undefined, undefined, "queue_full", "queue_full", "queue_full"],
      2,
    ]);
  });

  it("does not save a request whose upstream stays full from its deadline", async () => {
    const gate = newGate();
    enter(gate, { targets: only(A) });
    const waiting = enter(gate, { targets: only(A) });
    await vi.advanceTimersByTimeAsync(1000);
    expect([waiting.fault?.code, gate.depth]).toEqual(["queue_timeout", 0]);
  });
});

it("keys take turns: one that floods the line does not keep another out", async () => {
  const gate = newGate({ maxConcurrency: 1 });
  const order: string[] = [];
  const follow = (key: string): void => {
    const { place } = enter(gate, { key });
    void place.granted.then((lease) => {
      order.push(key);
      lease.release();
    });
  };
  for (const key of ["flood", "flood", "flood", "flood", "late", "late"]) follow(key);
  await turn();
  expect(order).toEqual(["flood", "flood", "late", "flood", "late", "flood"]);
});

describe("any sequence", () => {
  const step = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        key: fc.constantFrom("x", "y", "z"),
        bytes: fc.nat(10),
        targets: fc.constantFrom([A], [B], [A, B], [B, A], [FREE], [A, FREE]),
      }),
    },
    { weight: 2, arbitrary: fc.record({ leave: fc.nat(30) }) },
    { weight: 3, arbitrary: fc.record({ release: fc.nat(30) }) },
    { weight: 3, arbitrary: fc.constant("turn" as const) },
  );

  it("keeps all limits together, leaves nobody waiting without a reason, and ends with nothing held", async () => {
    const limits = { maxConcurrency: 3, keyMaxConcurrency: 2, maxQueue: 6, keyMaxQueue: 3 };
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        // A run that failed leaves its deadlines to the runs that make it shorter.
        vi.clearAllTimers();
        const gate = newGate(limits);
        const visits: { visit: Visit; key: string; targets: readonly Target[] }[] = [];
        const released = new Set<Lease<Target>>();
        const isHolding = ({ visit: { lease } }: { visit: Visit }): boolean =>
          lease !== undefined && !released.has(lease);
        const holding = () => visits.filter(isHolding);
        const release = (visit: Visit | undefined): void => {
          visit?.lease?.release();
          if (visit?.lease !== undefined) released.add(visit.lease);
        };
        const hasRoom = ({ name, maxConcurrency = 99 }: Target): boolean =>
          holding().filter(({ visit }) => visit.lease?.target.name === name).length < maxConcurrency;
        const ofKey = (key: string): number => holding().filter((entry) => entry.key === key).length;
        const check = (): void => {
          expect(holding().length).toBeLessThanOrEqual(limits.maxConcurrency);
          for (const key of ["x", "y", "z"]) expect(ofKey(key)).toBeLessThanOrEqual(limits.keyMaxConcurrency);
          for (const target of [A, B]) {
            const held = holding().filter(({ visit }) => visit.lease?.target === target);
            expect(held.length).toBeLessThanOrEqual(1);
          }
          expect(holding().length + gate.depth).toBeLessThanOrEqual(limits.maxConcurrency + limits.maxQueue);
        };
        for (const now of steps) {
          if (now === "turn") {
            await turn();
            const couldStart = visits.some(
              ({ visit: { lease, fault }, key, targets }) =>
                lease === undefined &&
                fault === undefined &&
                holding().length < limits.maxConcurrency &&
                ofKey(key) < limits.keyMaxConcurrency &&
                targets.some(hasRoom),
            );
            expect(couldStart).toBe(false);
          } else if ("leave" in now) {
            visits[now.leave % Math.max(1, visits.length)]?.visit.place.leave(new Fault("cancelled"));
          } else if ("release" in now) release(visits[now.release % Math.max(1, visits.length)]?.visit);
          else {
            const { key, bytes, targets } = now;
            faultCode(() => {
              visits.push({ visit: enter(gate, { key, bytes, targets: () => targets }), key, targets });
            });
          }
          check();
        }
        await turn();
        for (const { visit } of visits) visit.place.leave(new Fault("cancelled"));
        await turn();
        for (const { visit } of visits) release(visit);
        await turn();
        expect([gate.depth, gate.inFlight, vi.getTimerCount()]).toEqual([0, 0, 0]);
      }),
      { numRuns: 500 },
    );
  });
});
