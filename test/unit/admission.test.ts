import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Admission, type AdmissionLimits, type Lease, type Target } from "../../src/core/admission.ts";
import { Fault } from "../../src/core/errors.ts";
import { faultCode, turn } from "../support/core.ts";
import { enter, placeRequest, type Visit } from "../support/gate.ts";

const LIMITS: AdmissionLimits = {
  maxConcurrency: 1,
  maxQueue: 3,
  queueMaxBytes: 100,
  queueTimeoutMs: 1000,
};

const newGate = (limits: Partial<AdmissionLimits> = {}): Admission => new Admission({ ...LIMITS, ...limits });

/** Whether the waiting bytes are all free: as many as the bound fit, given that the one slot is taken. */
function isEmptyHanded(gate: Admission): boolean {
  try {
    gate.enter(placeRequest({ bytes: LIMITS.queueMaxBytes })).granted.catch(() => {});
    return true;
  } catch {
    return false;
  }
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

describe("the gate", () => {
  it("grants up to the limit at once, and keeps the others in line", async () => {
    const gate = newGate({ maxConcurrency: 2 });
    const visits = [enter(gate), enter(gate), enter(gate), enter(gate)];
    await turn();
    expect(visits.map(({ lease }) => lease !== undefined)).toEqual([true, true, false, false]);
    expect(visits.map(({ place }) => place.position())).toEqual([undefined, undefined, 1, 2]);
    expect([gate.inFlight, gate.depth]).toEqual([2, 2]);
  });

  it("holds a slot until its release, and then gives it to the next", async () => {
    const gate = newGate();
    const [first, second, third] = [enter(gate), enter(gate), enter(gate)];
    await vi.advanceTimersByTimeAsync(LIMITS.queueTimeoutMs - 1);
    expect(second.lease).toBeUndefined();
    first.lease?.release();
    await turn();
    expect(second.lease).toBeDefined();
    expect([third.place.position(), gate.inFlight, gate.depth]).toEqual([1, 1, 1]);
  });

  it("takes a second release of the same lease for nothing", async () => {
    const gate = newGate();
    const visits = [enter(gate), enter(gate), enter(gate)];
    await turn();
    visits[0]?.lease?.release();
    visits[0]?.lease?.release();
    await turn();
    visits[0]?.lease?.release();
    await turn();
    expect(visits.map(({ lease }) => lease !== undefined)).toEqual([true, true, false]);
    expect(gate.inFlight).toBe(1);
  });

  it("lets a higher priority go first, and moves the positions", async () => {
    const gate = newGate();
    const [held, low, high] = [enter(gate), enter(gate), enter(gate, { priority: 1 })];
    await turn();
    expect([high.place.position(), low.place.position()]).toEqual([1, 2]);
    held.lease?.release();
    await turn();
    expect([high.lease !== undefined, low.lease !== undefined]).toEqual([true, false]);
    expect(low.place.position()).toBe(1);
  });
});

describe("the bounds of the line", () => {
  it("refuse one more with queue_full, until there is room again", async () => {
    const gate = newGate({ maxQueue: 2 });
    const [, second] = [enter(gate), enter(gate), enter(gate)];
    expect(faultCode(() => gate.enter(placeRequest()))).toBe("queue_full");
    expect(gate.depth).toBe(2);
    second?.place.leave(new Fault("cancelled"));
    await turn();
    expect(faultCode(() => enter(gate))).toBeUndefined();
  });

  it("refuse at once where nobody may wait", () => {
    const gate = newGate({ maxQueue: 0 });
    enter(gate);
    expect(faultCode(() => gate.enter(placeRequest()))).toBe("queue_full");
  });

  it("count the bytes of those who wait, not of those who run", async () => {
    const gate = newGate();
    const held = enter(gate, { bytes: 1_000_000 });
    const waiting = enter(gate, { bytes: 60 });
    expect(faultCode(() => gate.enter(placeRequest({ bytes: 41 })))).toBe("queue_full");
    enter(gate, { bytes: 40 });
    expect(faultCode(() => gate.enter(placeRequest({ bytes: 1 })))).toBe("queue_full");
    await turn();
    held.lease?.release();
    await turn();
    expect(waiting.lease).toBeDefined();
    expect(faultCode(() => enter(gate, { bytes: 60 }))).toBeUndefined();
  });

  it("say when to come again: between 1 and 30 seconds, by how long slots are held", async () => {
    const gate = newGate({ maxQueue: 1, queueTimeoutMs: 1e9 });
    expect(gate.retryAfterS()).toBe(1);
    let held = enter(gate);
    for (let turns = 0; turns < 30; turns++) {
      await vi.advanceTimersByTimeAsync(600_000);
      held.lease?.release();
      await turn();
      held = enter(gate);
      await turn();
    }
    expect(gate.retryAfterS()).toBe(30);
    enter(gate);
    try {
      gate.enter(placeRequest());
      expect.unreachable();
    } catch (thrown) {
      expect((thrown as Fault).retryAfterS).toBe(30);
    }
  });
});

describe("the deadline", () => {
  it("ends a wait with queue_timeout, and frees its place and bytes", async () => {
    const gate = newGate();
    enter(gate);
    const [late, later] = [enter(gate, { bytes: 100 }), enter(gate)];
    await vi.advanceTimersByTimeAsync(999);
    expect(late.fault).toBeUndefined();
    await vi.advanceTimersByTimeAsync(1);
    expect([late.fault?.code, later.fault?.code]).toEqual(["queue_timeout", "queue_timeout"]);
    expect(late.fault?.retryAfterS).toBeGreaterThanOrEqual(1);
    expect([late.place.position(), gate.depth, gate.inFlight]).toEqual([undefined, 0, 1]);
    expect(isEmptyHanded(gate)).toBe(true);
  });

  it("is no limit on holding the slot", async () => {
    const gate = newGate();
    const held = enter(gate);
    await vi.advanceTimersByTimeAsync(100 * LIMITS.queueTimeoutMs);
    const next = enter(gate);
    await turn();
    expect([held.fault, gate.inFlight, next.lease]).toEqual([undefined, 1, undefined]);
  });

  it("leaves no timer once the wait is over", async () => {
    const gate = newGate();
    const [held, leaving] = [enter(gate), enter(gate)];
    leaving.place.leave(new Fault("cancelled"));
    await turn();
    expect([held.lease !== undefined, vi.getTimerCount()]).toEqual([true, 0]);
  });
});

describe("leaving", () => {
  it("ends a wait at once with the fault given, and lets the others move up", async () => {
    const gate = newGate();
    const [, first, second] = [enter(gate), enter(gate, { bytes: 60 }), enter(gate, { bytes: 40 })];
    const fault = new Fault("cancelled");
    first?.place.leave(fault);
    expect([first?.place.position(), second?.place.position(), gate.depth]).toEqual([undefined, 1, 1]);
    await turn();
    expect(first?.fault).toBe(fault);
    first?.place.leave(new Fault("draining"));
    expect(faultCode(() => enter(gate, { bytes: 60 }))).toBeUndefined();
  });

  it("does not free the slot of a lease that is held", async () => {
    const gate = newGate();
    const [held, waiting] = [enter(gate), enter(gate)];
    // Before the grant was even told, and after.
    held.place.leave(new Fault("cancelled"));
    await turn();
    held.place.leave(new Fault("cancelled"));
    await turn();
    expect([held.fault, waiting.lease, gate.inFlight, gate.depth]).toEqual([undefined, undefined, 1, 1]);
    held.lease?.release();
    await turn();
    expect(waiting.lease).toBeDefined();
  });

  it("is without effect after the release", async () => {
    const gate = newGate();
    const [held, next] = [enter(gate), enter(gate)];
    await turn();
    held.lease?.release();
    held.place.leave(new Fault("cancelled"));
    await turn();
    expect([next.lease !== undefined, gate.inFlight]).toEqual([true, 1]);
  });
});

describe("any sequence", () => {
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ bytes: fc.nat(40), priority: fc.nat(2) }) },
    { weight: 2, arbitrary: fc.record({ leave: fc.nat(30) }) },
    { weight: 3, arbitrary: fc.record({ release: fc.nat(30) }) },
    { weight: 2, arbitrary: fc.constant("turn" as const) },
    { weight: 1, arbitrary: fc.constant("late" as const) },
  );
  const concurrency = fc.integer({ min: 1, max: 3 });

  it("of entering, leaving, lateness and release keeps the limits and ends with nothing held", async () => {
    await fc.assert(
      fc.asyncProperty(concurrency, fc.array(step, { maxLength: 30 }), async (maxConcurrency, steps) => {
        // A run that failed leaves its deadlines to the runs that make it shorter.
        vi.clearAllTimers();
        const gate = newGate({ maxConcurrency, maxQueue: 4 });
        const visits: Visit[] = [];
        const released = new Set<Lease<Target>>();
        const pick = (index: number) => visits[index % Math.max(1, visits.length)];
        const release = (visit: Visit | undefined): void => {
          if (visit?.lease === undefined) return;
          visit.lease.release();
          released.add(visit.lease);
        };
        const check = (): void => {
          const held = visits.filter(({ lease }) => lease !== undefined && !released.has(lease)).length;
          expect(held).toBeLessThanOrEqual(maxConcurrency);
          expect(gate.inFlight).toBeLessThanOrEqual(maxConcurrency);
          expect(gate.inFlight).toBeGreaterThanOrEqual(held);
          // A slot that was just given back counts as room, though it takes a moment to be handed on.
          expect(held + gate.depth).toBeLessThanOrEqual(maxConcurrency + 4);
        };
        for (const now of steps) {
          if (now === "turn") await turn();
          else if (now === "late") await vi.advanceTimersByTimeAsync(600);
          else if ("leave" in now) pick(now.leave)?.place.leave(new Fault("cancelled"));
          else if ("release" in now) release(pick(now.release));
          else if (faultCode(() => visits.push(enter(gate, now))) !== undefined) continue;
          check();
        }
        await turn();
        check();
        expect(gate.depth).toBeLessThanOrEqual(4);
        // A free slot and a line at once would be a stuck line.
        expect(gate.depth === 0 || gate.inFlight === maxConcurrency).toBe(true);
        for (const { place } of visits) place.leave(new Fault("cancelled"));
        await turn();
        for (const visit of visits) release(visit);
        await turn();
        expect(visits.every(({ lease, fault }) => (lease === undefined) !== (fault === undefined))).toBe(
          true,
        );
        expect([gate.depth, gate.inFlight, vi.getTimerCount()]).toEqual([0, 0, 0]);
        for (let slot = 0; slot < maxConcurrency; slot++) enter(gate);
        expect(isEmptyHanded(gate)).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });
});
