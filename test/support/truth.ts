/** What a single request must move, by what became of it. */
import { expect } from "vitest";
import type { Asker } from "./askers.ts";
import { startGateway, type TestGateway, until } from "./gateway.ts";
import { startGeneration } from "./requests.ts";
import { type Moved, moved, scrapeOf, sumOf, type Work, workIn } from "./scrape.ts";

export const IDLE: Work = { readers: 0, queued: 0, inFlight: 0, active: 0 };

/** A gateway that has learned its upstream's model, so that its name is a label. */
export async function startKnowing(env: Readonly<Record<string, string>>): Promise<TestGateway> {
  const gateway = await startGateway({ env });
  const key = env["SLUICE_API_KEYS"]?.split(",", 1)[0]?.replace(/^\w+:/, "");
  const headers: Record<string, string> = key === undefined ? {} : { authorization: `Bearer ${key}` };
  await (await fetch(`${gateway.url}/v1/models`, { headers })).text();
  return gateway;
}

/** Does something, waits until this work is left, and tells what it moved. */
export async function movedBy(
  { url }: { readonly url: string },
  act: () => Promise<unknown>,
  left: Work = IDLE,
): Promise<Moved> {
  const before = await scrapeOf(url);
  await act();
  let after = before;
  await until(`only this work is left: ${JSON.stringify(left)}`, async () => {
    after = await scrapeOf(url);
    return JSON.stringify(workIn(after)) === JSON.stringify(left);
  });
  // What is counted late would be counted now.
  expect(workIn(await scrapeOf(url))).toEqual(left);
  return moved(before, await scrapeOf(url));
}

/** The creating request was counted, and no generation made. */
export const refused = (outcome: string, transport: string): Moved => ({
  [`requests_total ${outcome} ${transport}`]: 1,
});

/** A generation ended; `reader` is the transport of the one reader that it had. */
export const ended = (outcome: string, { transport, reader }: Asker): Moved => ({
  [`requests_total ${outcome} ${transport}`]: 1,
  [`request_duration_seconds_count ${outcome} ${transport}`]: 1,
  ...(reader === undefined ? {} : { [`readers_total ${reader}`]: 1 }),
});

/** It got a slot, and its upstream answered so. */
export const asked = (...codes: readonly (string | number)[]): Moved =>
  sumOf(
    { queue_wait_seconds_count: 1 },
    ...codes.map((code) => ({ [`upstream_requests_total ${code}`]: 1 })),
  );

/** So many content events were streamed, and the first was handed to the reader's socket. */
export const streamedEvents = (events: number, { reader }: Pick<Asker, "reader">): Moved =>
  sumOf({
    upstream_time_to_first_token_seconds_count: 1,
    inter_token_latency_seconds_count: events - 1,
    ...(reader === undefined
      ? {}
      : {
          [`time_to_first_token_seconds_count ${reader}`]: 1,
          [`gateway_overhead_seconds_count ${reader}`]: 1,
        }),
  });

/** No usage came: content events stand for output. */
export const countedEvents = (events: number): Moved => ({ "tokens_total events output": events });

export const silent = (reason: string): Moved => ({ [`no_first_token_total ${reason}`]: 1 });
export const vanished = (reader: string | undefined, phase: string): Moved => ({
  [`reader_disconnects_total ${phase} ${reader}`]: 1,
});

/** A generation that keeps the only slot, which its upstream has been asked for, and how to let it go. */
export async function holdSlot(
  gateway: TestGateway,
): Promise<{ readonly id: string; release(): Promise<void> }> {
  gateway.emulator.queue([{ fault: { kind: "hang_before_headers" } }]);
  const { requests } = gateway.emulator.stats;
  const { id } = await startGeneration(gateway.url, {}, { on_disconnect: "continue" });
  await until("the slot is held", () => gateway.emulator.stats.requests === requests + 1);
  return {
    id,
    release: async () => {
      await fetch(`${gateway.url}/v1/generations/${id}/cancel`, { method: "POST" });
    },
  };
}

/** What letting go of a slot moves: its own generation is cancelled before its upstream has answered. */
export const RELEASED: Moved = {
  "requests_total cancelled none": 1,
  "request_duration_seconds_count cancelled none": 1,
  "upstream_requests_total cancelled": 1,
  "no_first_token_total cancelled": 1,
};
