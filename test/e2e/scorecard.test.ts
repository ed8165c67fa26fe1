/** The rows of docs/SCORECARD.md: no client takes an upstream's failure for success. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { Scorecard } from "../scorecard/card.ts";
import { FAULTS } from "../scorecard/faults.ts";
import { python } from "../support/python.ts";

let card: Scorecard;
beforeAll(async () => {
  card = await Scorecard.start();
});
afterAll(() => card?.close());

const missing = python === undefined ? " (without Python's client: no python with openai; see .ci/run)" : "";

test.concurrent.each(FAULTS)(`$name: must $must on every client${missing}`, async (fault) => {
  const { saw, complaints } = await card.row(fault);
  expect(complaints).toEqual([]);
  expect(saw.filter((seen) => seen !== undefined)).toHaveLength(python === undefined ? 4 : 5);
});
