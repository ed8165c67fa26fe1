/** Going away under load; `npm run drain` does the same twenty times. */
import { tmpdir } from "node:os";
import { afterAll, beforeAll, expect, test } from "vitest";
import { drainUnderLoad, STREAMS } from "../soak/drain-load.ts";
import { type EmulatorProcess, startEmulatorProcess } from "../support/emulator-process.ts";

const SEED = Number(process.env["SLUICE_DRAIN_SEED"] ?? Date.now() % 1_000_000);

let emulator: EmulatorProcess;
beforeAll(async () => {
  emulator = await startEmulatorProcess(tmpdir());
});
afterAll(() => emulator.stop());

test.each([SEED, SEED + 1, SEED + 2])(
  `of ${STREAMS} streams, what can end in time does, and the rest is told (seed %i)`,
  async (seed) => {
    const { wrong, ...result } = await drainUnderLoad(seed, emulator);
    console.log(result);
    expect(wrong).toEqual([]);
    expect(result.exitCode).toBe(0);
    // A moment at which nothing ran, or nothing was cut, would have shown nothing.
    expect(result.running).toBeGreaterThan(STREAMS / 2);
    expect(result.ended).toBeGreaterThan(0);
    expect(result.cut).toBeGreaterThan(0);
  },
);
