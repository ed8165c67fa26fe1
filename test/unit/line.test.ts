import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Line, type PlaceOptions, type Run } from "../../src/core/line.ts";

const runOf = (): Run => () => Promise.resolve();

/** A line with these places, and a way to read the ids of those that it lets go. */
function lineOf(...places: readonly (PlaceOptions & { readonly id: string })[]) {
  const line = new Line();
  const ids = new Map<Run, string>();
  const enqueue = (place: PlaceOptions & { readonly id: string }): void => {
    const run = runOf();
    ids.set(run, place.id);
    line.enqueue(run, place);
  };
  const idOf = (run: Run | undefined): string | undefined => (run === undefined ? undefined : ids.get(run));
  for (const place of places) enqueue(place);
  return { line, enqueue, idOf, next: () => idOf(line.dequeue()) };
}

/** All that it lets go, in order. */
function drain({ next }: { next: () => string | undefined }): string[] {
  const ids: string[] = [];
  for (let id = next(); id !== undefined; id = next()) ids.push(id);
  return ids;
}

describe("the line of one key", () => {
  it("is first come, first served within a priority, and higher ones go first", () => {
    const waiting = lineOf(
      { id: "a" },
      { id: "b", priority: 1 },
      { id: "c", priority: 0 },
      { id: "d", priority: 1 },
    );
    expect(["b", "d", "a", "c", "z"].map((id) => waiting.line.position(id))).toEqual([1, 2, 3, 4, undefined]);
    expect([waiting.line.startable, waiting.line.depth]).toEqual([4, 4]);
    expect(drain(waiting)).toEqual(["b", "d", "a", "c"]);
    expect([waiting.line.startable, waiting.line.depth]).toEqual([0, 0]);
  });

  it("tells the runs of a priority", () => {
    const { line, idOf } = lineOf({ id: "high", priority: 2 }, { id: "low" });
    expect(line.filter({ priority: 2 }).map(idOf)).toEqual(["high"]);
    expect(line.filter({}).map(idOf)).toEqual(["low"]);
  });

  it("moves a place whose priority changes to the end of its new class", () => {
    const { line } = lineOf({ id: "a" }, { id: "b" }, { id: "c" });
    line.setPriority("a", 0);
    expect(["b", "c", "a"].map((id) => line.position(id))).toEqual([1, 2, 3]);
    line.setPriority("a", 5);
    expect(line.position("a")).toBe(1);
    expect(() => line.setPriority("z", 1)).toThrow(ReferenceError);
  });

  it("lets a place leave from anywhere; to leave twice, or unknown, changes nothing", () => {
    const { line } = lineOf({ id: "a" }, { id: "b" }, { id: "c" });
    line.remove("b");
    line.remove("b");
    line.remove("z");
    expect(["a", "b", "c"].map((id) => line.position(id))).toEqual([1, undefined, 2]);
    expect(line.depth).toBe(2);
  });
});

describe("the line of several keys", () => {
  it("gives each its turn, however much one of them has waiting", () => {
    const waiting = lineOf(
      ...["a1", "a2", "a3", "a4"].map((id) => ({ id, key: "a" })),
      ...["b1", "b2"].map((id) => ({ id, key: "b" })),
      { id: "c1", key: "c" },
    );
    const order = ["a1", "b1", "c1", "a2", "b2", "a3", "a4"];
    expect(order.map((id) => waiting.line.position(id))).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(["a", "b", "c", "d"].map((key) => waiting.line.depthOf(key))).toEqual([4, 2, 1, 0]);
    expect(drain(waiting)).toEqual(order);
  });

  it("lets a key that had its turn go to the end, and a new one in behind", () => {
    const waiting = lineOf({ id: "a1", key: "a" }, { id: "a2", key: "a" }, { id: "b1", key: "b" });
    expect(waiting.next()).toBe("a1");
    waiting.enqueue({ id: "c1", key: "c" });
    expect(drain(waiting)).toEqual(["b1", "a2", "c1"]);
  });

  it("lets a higher priority go before every turn", () => {
    const waiting = lineOf(
      { id: "a1", key: "a" },
      { id: "b1", key: "b" },
      { id: "b2", key: "b", priority: 1 },
    );
    expect(waiting.line.position("b2")).toBe(1);
    expect(drain(waiting)).toEqual(["b2", "a1", "b1"]);
  });
});

describe("a place that may not start", () => {
  it("holds nobody up, keeps its position, and goes when it may", () => {
    let mayStart = false;
    const waiting = lineOf(
      { id: "a1", key: "a", canStart: () => mayStart },
      { id: "a2", key: "a" },
      { id: "b1", key: "b" },
    );
    expect([waiting.line.startable, waiting.line.depth, waiting.line.position("a1")]).toEqual([2, 3, 1]);
    expect([waiting.next(), waiting.next(), waiting.next()]).toEqual(["a2", "b1", undefined]);
    expect([waiting.line.startable, waiting.line.depth]).toEqual([0, 1]);
    mayStart = true;
    expect([waiting.line.startable, waiting.next()]).toEqual([1, "a1"]);
  });
});

interface ModelPlace {
  readonly id: string;
  readonly key: string;
  readonly priority: number;
  readonly canStart: () => boolean;
}

/** The rule as it is said: of the first places of all keys, in turn, the one of the highest priority. */
class Model {
  places: ModelPlace[] = [];
  turns: string[] = [];

  add(place: ModelPlace): void {
    this.places.push(place);
    if (!this.turns.includes(place.key)) this.turns.push(place.key);
  }

  remove(place: ModelPlace): void {
    this.places = this.places.filter((other) => other !== place);
    this.turns = this.turns.filter((key) => this.places.some((other) => other.key === key));
  }

  next(): string | undefined {
    const firsts = this.turns.flatMap((key) => {
      const own = this.places.filter((place) => place.key === key && place.canStart());
      return own.sort((a, b) => b.priority - a.priority).slice(0, 1);
    });
    const [next] = firsts.sort((a, b) => b.priority - a.priority);
    if (next === undefined) return undefined;
    this.turns = [...this.turns.filter((key) => key !== next.key), next.key];
    this.remove(next);
    return next.id;
  }
}

describe("any sequence", () => {
  const stepOf = (maxPriority: number) =>
    fc.oneof(
      {
        weight: 3,
        arbitrary: fc.record({
          key: fc.constantFrom("a", "b", "c"),
          priority: fc.nat(maxPriority),
          // Blocked for as long as this flag of the test is up.
          gate: fc.constantFrom(undefined, 0, 1),
        }),
      },
      { weight: 1, arbitrary: fc.record({ remove: fc.nat(20) }) },
      { weight: 1, arbitrary: fc.record({ toggle: fc.nat(1) }) },
      { weight: 2, arbitrary: fc.constant("next" as const) },
    );

  it("lets go those that the rule says, and counts those that wait", () => {
    fc.assert(
      fc.property(fc.array(stepOf(2), { maxLength: 40 }), (steps) => {
        const waiting = lineOf();
        const model = new Model();
        const isShut = [false, false];
        for (const [count, now] of steps.entries()) {
          if (now === "next") expect(waiting.next()).toBe(model.next());
          else if ("toggle" in now) isShut[now.toggle] = !isShut[now.toggle];
          else if ("remove" in now) {
            const place = model.places.find(({ id }) => id === String(now.remove));
            if (place !== undefined) model.remove(place);
            waiting.line.remove(String(now.remove));
          } else {
            const { key, priority, gate } = now;
            const canStart = (): boolean => gate === undefined || !isShut[gate];
            model.add({ id: String(count), key, priority, canStart });
            waiting.enqueue({ id: String(count), key, priority, canStart });
          }
          expect(waiting.line.depth).toBe(model.places.length);
          const startable = model.places.filter(({ canStart }) => canStart()).length;
          expect(waiting.line.startable).toBe(startable);
          // All that p-queue asks of the size is whether there is one to take.
          expect(waiting.line.size > 0).toBe(startable > 0);
          const positions = model.places.map(({ id }) => waiting.line.position(id));
          expect(positions.sort()).toEqual(model.places.map((_, index) => index + 1).sort());
        }
      }),
      { numRuns: 500 },
    );
  });

  it("tells the positions in which places of one priority are let go", () => {
    fc.assert(
      fc.property(fc.array(stepOf(0), { maxLength: 40 }), (steps) => {
        const waiting = lineOf();
        const ids: string[] = [];
        for (const [count, now] of steps.entries()) {
          if (now === "next") waiting.next();
          else if ("key" in now) {
            ids.push(String(count));
            waiting.enqueue({ id: String(count), key: now.key });
          }
        }
        const told = ids
          .filter((id) => waiting.line.position(id) !== undefined)
          .sort((a, b) => (waiting.line.position(a) ?? 0) - (waiting.line.position(b) ?? 0));
        expect(drain(waiting)).toEqual(told);
      }),
      { numRuns: 500 },
    );
  });
});
