/** Follows a generation on an HTTP response: as an event stream, or as the one body of an answer that is not streamed. */
import type { FastifyReply } from "fastify";
import { Fault } from "../core/errors.ts";
import type { Generation } from "../core/generation.ts";
import type { Reader } from "../core/reader.ts";
import { Delivery, type DeliveryLimits } from "../transport/deliver.ts";
import { EVENT_STREAM_HEADERS, type SseEncoding, SseOutlet } from "../transport/sse.ts";
import { dropIfNotTaken, type FaultAnswer, writeFault } from "./faults.ts";

export interface Follow {
  readonly encoding: SseEncoding;
  readonly limits: DeliveryLimits;
  /** Start after this seq; the caller has checked that it exists. */
  readonly after: number;
  /** A creating route: its headers wait for the first content, and an early failure has its own status. */
  readonly earlyHeadersMs?: number;
  readonly tellsPosition: boolean;
  /** Whether this is the reader that its creating request made: its first content is timed. */
  readonly isFirstHand: boolean;
  /** Replay only what is there. */
  readonly untilNow?: boolean;
  readonly headers?: Record<string, string>;
  /** How an early failure is answered, where that is not the error object. */
  readonly faultAnswer?: (fault: Fault) => FaultAnswer;
}

/** What the hooks have set, which generation, and who answered it after how many attempts (as far as that is known yet). */
const named = (reply: FastifyReply, generation: Generation): Record<string, string> => ({
  ...(reply.getHeaders() as Record<string, string>),
  "x-generation-id": generation.id,
  ...(generation.attempts === 0
    ? {}
    : { "x-sluice-upstream": generation.upstream, "x-sluice-attempts": String(generation.attempts) }),
});

/** Streams events until the ending, the reader's departure or, with `untilNow`, what is there now. */
export function followAsEvents(reply: FastifyReply, generation: Generation, follow: Follow): void {
  // Before the answer is out of Fastify's hands: what is thrown here is answered by it.
  const reader = generation.join("sse", follow.isFirstHand);
  reply.hijack();
  const response = reply.raw;
  const ids = (): Record<string, string> => named(reply, generation);
  const outlet = new SseOutlet(generation, response, {
    encoding: follow.encoding,
    tellsPosition: follow.tellsPosition,
    onDrain: () => delivery.drained(),
    headers: () => ({ ...generation.answerHeaders, ...EVENT_STREAM_HEADERS, ...follow.headers, ...ids() }),
    ...(follow.earlyHeadersMs === undefined
      ? {}
      : {
          earlyHeadersMs: follow.earlyHeadersMs,
          refuse: (fault) => writeFault(response, fault, ids(), follow.faultAnswer),
        }),
  });
  const until = follow.untilNow === true ? generation.log.lastSeq : undefined;
  const delivery: Delivery = new Delivery(reader, outlet, follow.after, follow.limits, {
    until,
    // The loop watches over what is read; this, over the last bytes of it.
    onOver: () =>
      dropIfNotTaken(response, response.socket, follow.limits.writeStallMs, () =>
        generation.observer.slowReader("sse"),
      ),
  });
  response.on("close", () => {
    outlet.release();
    delivery.stop(true);
  });
  delivery.start();
  // It may have left before there was anything to leave.
  if (response.destroyed) delivery.stop(true);
}

/** Answers with the one body of a generation that is not streamed, once it has ended. */
export async function answerWhole(
  reply: FastifyReply,
  generation: Generation,
  isFirstHand: boolean,
  { writeStallMs }: DeliveryLimits,
): Promise<void> {
  const reader = generation.join("json", isFirstHand);
  reply.hijack();
  const response = reply.raw;
  response.on("close", () => reader.leave(true));
  if (response.destroyed) reader.leave(true);
  await generation.ended;
  dropIfNotTaken(response, response.socket, writeStallMs, () => generation.observer.slowReader("json"));
  sendWhole(reply, generation, reader);
}

function sendWhole(reply: FastifyReply, generation: Generation, reader: Reader): void {
  const { log } = generation;
  const ids = named(reply, generation);
  if (log.head === 0) writeFault(reply.raw, log.ending?.fault ?? new Fault("internal_error"), ids);
  else if (!reply.raw.destroyed) {
    // A copy: the socket may still hold it when the log is gone.
    const body = Buffer.from(log.payload(1));
    const headers = { ...generation.answerHeaders, "content-type": "application/json", ...ids };
    reply.raw.writeHead(200, { ...headers, "content-length": body.length });
    reply.raw.end(body);
  }
  reader.leave(false);
}
