/** The bench's quick mode, with tiny numbers: that it measures, and that nothing is lost on the way. No time is judged. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const QUICK = fileURLToPath(new URL("../../bench/quick.ts", import.meta.url));
const SUBJECTS = ["pipe", "sluice-sse", "sluice-ws", "sluice-ws50"];
const STREAMS = 10;

interface Found {
  readonly chunks: number;
  readonly usPerChunk: number;
  readonly totals: Readonly<Record<string, number>>;
}

const isLinux = existsSync("/proc/self/schedstat");

test.skipIf(!isLinux)(`loses and reorders nothing${isLinux ? "" : " (needs Linux's /proc)"}`, () => {
  const folder = mkdtempSync(join(tmpdir(), "bench-test-"));
  const json = join(folder, "quick.json");
  const args = ["--streams", String(STREAMS), "--rounds", "1", "--seconds", "0.5", "--json", json];
  const run = spawnSync(process.execPath, [QUICK, ...args], { encoding: "utf8" });
  const text = existsSync(json) ? readFileSync(json, "utf8") : "";
  rmSync(folder, { recursive: true });
  expect(run.status, run.stdout + run.stderr).toBe(0);
  const { rows, result } = JSON.parse(text) as {
    rows: Record<string, unknown>[];
    result: { subject: string; found: Found[] }[];
  };
  expect(result.map(({ subject }) => subject)).toEqual(SUBJECTS);
  expect(rows.map((row) => row["wrong"])).toEqual([0, 0, 0, 0]);
  for (const row of rows)
    expect(Object.keys(row)).toEqual(expect.arrayContaining(["us/chunk", "x pipe", "chunks/read"]));
  for (const { found } of result) {
    const [only] = found;
    expect(found).toHaveLength(1);
    expect(only?.totals).toMatchObject({
      streams: STREAMS,
      lost: 0,
      reordered: 0,
      duplicated: 0,
      strange: 0,
      failed: 0,
    });
    // In the window, and in all: some of the events come before it and after it.
    expect(only?.chunks).toBeGreaterThan(STREAMS);
    expect(only?.totals["received"]).toBeGreaterThan(only?.chunks ?? 0);
    expect(only?.usPerChunk).toBeGreaterThan(0);
  }
});
