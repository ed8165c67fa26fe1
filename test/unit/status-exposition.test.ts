import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { parseExposition, sumBy, sumOf } from "../../src/web/status/exposition.js";
import { callAll, closeAll, make, scrape } from "../support/metrics.ts";

afterEach(closeAll);

/** As `scrape` of the support names a series: labels in alphabetical order. */
const nameOf = (name: string, labels: Readonly<Record<string, string>>): string =>
  `${name}{${Object.entries(labels)
    .map(([label, value]) => `${label}="${value}"`)
    .sort()
    .join(",")}}`;

describe("the text of the gateway's own metrics", () => {
  it("reads as a reader of another make reads it", async () => {
    const metrics = make();
    callAll(metrics);
    const expected = await scrape(metrics);
    const text = await metrics.render();
    const read = new Map(
      [...parseExposition(text)].flatMap(([name, samples]) =>
        samples.map(({ labels, value }) => [nameOf(name, labels), value] as const),
      ),
    );
    expect(expected.size).toBeGreaterThan(300);
    const isOurs = (series: string): boolean => series.startsWith("sluice_");
    expect([...read.keys()].filter(isOurs).sort()).toEqual([...expected.keys()].filter(isOurs).sort());
    for (const [series, value] of expected) if (isOurs(series)) expect(read.get(series), series).toBe(value);
    // Those of the process change between two scrapes, but not in number.
    expect(read.size).toBe(expected.size);
  });

  it("sums over labels", async () => {
    const metrics = make();
    callAll(metrics);
    callAll(metrics, { model: "alpha", transport: "websocket", key: "ci" });
    const read = parseExposition(await metrics.render());
    expect(sumBy(read, "sluice_requests_total", "outcome").get("completed")).toBe(2);
    expect(sumBy(read, "sluice_requests_total", "transport").get("websocket")).toBe(3);
    const isTeam = ({ key }: Readonly<Record<string, string>>): boolean => key === "team";
    expect(sumBy(read, "sluice_requests_total", "outcome", isTeam).get("completed")).toBe(1);
    expect(sumOf(read, "sluice_requests_total")).toBe(6);
    expect(sumOf(read, "sluice_queue_depth")).toBe(3);
    expect(sumOf(read, "no_such_metric")).toBeNull();
    expect(sumOf(parseExposition('m{a="1"} Nan\nm{a="2"} 1'), "m")).toBeNull();
  });
});

describe("Prometheus text", () => {
  it.each([
    ["m 1", "m", {}, 1],
    ["m{} 1", "m", {}, 1],
    ['m{a="\u2028 \u{1f6a3} é"} 1', "m", { a: "\u2028 \u{1f6a3} é" }, 1],
    ['m{a="1",b="2",} 3.5e-2', "m", { a: "1", b: "2" }, 0.035],
    ['m { a = "1" , b="2" }\t-4 1700000000000', "m", { a: "1", b: "2" }, -4],
    ["m:sum +Inf", "m:sum", {}, Number.POSITIVE_INFINITY],
    ["m -Inf", "m", {}, Number.NEGATIVE_INFINITY],
    ["m NaN", "m", {}, Number.NaN],
    ["m Nan", "m", {}, Number.NaN],
    ['m{a="}, b=\\"x\\" \\\\n \\n"} 1', "m", { a: '}, b="x" \\n \n' }, 1],
  ])("reads %j", (line, name, labels, value) => {
    expect([...parseExposition(`# HELP m Help.\n# TYPE m gauge\n\n${line}\n`)]).toEqual([
      [name, [{ labels, value }]],
    ]);
  });

  it.each(["m", "m x", "m{a=1} 1", 'm{a="1" 1', 'm{a="1"b="2"} 1', "1m 1", 'm{a="1"} 1 2 3', "<html>"])(
    "throws at %j",
    (line) => {
      expect(() => parseExposition(line)).toThrow(SyntaxError);
    },
  );

  it("keeps any value of a label", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "binary-ascii" }),
        fc.double({ noNaN: true, noDefaultInfinity: true }),
        (value, number) => {
          const escaped = value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
          const [sample] = parseExposition(`m{a="${escaped}",b="x"} ${number}`).get("m") ?? [];
          expect(sample).toEqual({ labels: { a: value, b: "x" }, value: Number(`${number}`) });
        },
      ),
    );
  });
});
