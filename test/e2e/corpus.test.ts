/** Recorded answers of real providers, through the gateway to every kind of reader, held against an independent oracle. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ReadMode } from "../../src/emulator/index.ts";
import { bodyOf, CORPUS, hasCorpus, type Recording, recordings } from "../support/corpus.ts";
import { checkNumbered, checkStock } from "../support/delivery-checks.ts";
import { type EmulatorProcess, startEmulatorProcess } from "../support/emulator-process.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { assemble, judge, payloadsOf, type Verdict } from "../support/oracle.ts";
import { type Deliveries, forEach, Replayer, replayOf } from "../support/replay.ts";

const CHAT = recordings("chat");
const COMPLETIONS = recordings("completions");
/** The largest first, so that no processor idles at the end. */
const FILES = [...CHAT, ...COMPLETIONS].toSorted((one, other) => other.bytes - one.bytes);
const BOUNDARIES: readonly ReadMode[] = ["whole", "event", 7, 1];
const TRANSPORTS = ["stock", "events", "websocket"] as const;
const AT_ONCE = 8;
const MINUTE = 60_000;

const name = hasCorpus ? "the corpus" : `the corpus (skipped: there are no recordings at ${CORPUS})`;

describe.skipIf(!hasCorpus)(name, () => {
  let emulator: EmulatorProcess;
  let gateway: TestGateway;
  let replayer: Replayer;
  const boundaries = new Set<ReadMode>();
  let compared = 0;

  beforeAll(async () => {
    emulator = await startEmulatorProcess(CORPUS);
    gateway = await startGateway({ env: { OPENAI_BASE_URL: emulator.url } });
    replayer = await Replayer.over(gateway);
  });

  afterAll(async () => {
    replayer.close();
    await gateway.close();
    await emulator.stop();
    console.log(
      `corpus: ${CHAT.length} chat and ${COMPLETIONS.length} completions recordings, ${boundaries.size} read boundaries, ` +
        `${TRANSPORTS.length} transports: ${compared} deliveries byte-identical`,
    );
  });

  test("the oracle reads the recordings as their index does", () => {
    for (const file of FILES) {
      const payloads = payloadsOf(bodyOf(file));
      expect(payloads.length, file.file).toBe(file.events);
      expect(verdictOn(file).usage, file.file).toEqual(file.expected.usage);
      checkAssembled(payloads, file);
    }
  });

  test.each(BOUNDARIES)(
    "reads of %s: every payload reaches every transport, byte for byte",
    async (read) => {
      const problems: string[] = [];
      await forEach(FILES, AT_ONCE, async (file) => {
        // Once, each transport has a generation of its own; otherwise all three read the same one.
        const creation = replayOf(file, { read });
        const deliveries = await (read === "event" ? replayer.apart(creation) : replayer.together(creation));
        const found = problemsOf(deliveries, verdictOn(file), file, true);
        problems.push(...found);
        compared += TRANSPORTS.length - found.length;
      });
      boundaries.add(read);
      expect(problems).toEqual([]);
    },
    10 * MINUTE,
  );

  test.each([
    // The last blank line is missing, which takes nothing away from the last block.
    ["before its last byte", (bytes: number) => bytes - 1],
    ["in the middle", (bytes: number) => Math.floor(bytes / 2)],
  ])("a stream that stops %s ends as the rule has it", async (_where, cutOf) => {
    const problems: string[] = [];
    await forEach(FILES, AT_ONCE, async (file) => {
      const cut_at = cutOf(file.bytes);
      const deliveries = await replayer.together(replayOf(file, { read: "whole", cut_at }));
      problems.push(...problemsOf(deliveries, verdictOn(file, cut_at), file, false));
    });
    expect(problems).toEqual([]);
  });
});

const verdictOn = (file: Recording, cutAt = file.bytes): Verdict =>
  judge(bodyOf(file).subarray(0, cutAt), file.request.n ?? 1);

/** What is wrong with each delivery: one line for a transport at most. */
function problemsOf(deliveries: Deliveries, verdict: Verdict, file: Recording, isWhole: boolean): string[] {
  return TRANSPORTS.flatMap((transport) => {
    try {
      if (transport === "stock") checkStock(deliveries.stock, verdict);
      else checkNumbered(deliveries[transport], verdict);
      if (isWhole) checkAssembled(deliveries[transport].payloads, file);
      return [];
    } catch (thrown) {
      return [`${file.file}, ${transport}: ${thrown instanceof Error ? thrown.message : thrown}`];
    }
  });
}

/** A client that puts the events together gets the recorded text and finish reasons. */
function checkAssembled(payloads: readonly Buffer[], { expected, file }: Recording): void {
  const { text, reasons } = assemble(payloads);
  const { text_by_choice: wanted = {}, finish_reasons } = expected;
  expect(reasons, file).toEqual(finish_reasons);
  // Where the recording's choice index counts tokens, only the whole text means anything.
  if (expected.text_by_choice === undefined) expect(Object.values(text).join(""), file).toBe(expected.text);
  else expect(text, file).toEqual(wanted);
}
