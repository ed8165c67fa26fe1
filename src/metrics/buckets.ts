/**
 * Bucket edges, in seconds. Each list has the edges that the OpenTelemetry semantic conventions for generative AI advise
 * (gen_ai.server.time_to_first_token, gen_ai.server.time_per_output_token, gen_ai.client.operation.duration), so that panels
 * made for those fit; each has 2 s; and each goes on to where the gateway's own default timeouts cut.
 */

const join = (...lists: readonly (readonly number[])[]): readonly number[] =>
  [...new Set(lists.flat())].sort((a, b) => a - b);

const OTEL_FIRST_TOKEN = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
];
const OTEL_OUTPUT_TOKEN = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5];
const OTEL_DURATION = [
  0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];
const FINE_TOKEN = [
  0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.012, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05,
];

/** Up to the first token timeout (300 s), after the longest wait in the queue (30 s). */
export const FIRST_TOKEN = join(OTEL_FIRST_TOKEN, [2, 20, 30, 60, 120, 300, 600]);
/** Up to the stall timeout (120 s). */
export const TOKEN = join(FINE_TOKEN, OTEL_OUTPUT_TOKEN, [2, 5, 10, 30, 60, 120]);
/** Up to the queue timeout (30 s), and one further for who sets it higher. */
export const QUEUE_WAIT = join(OTEL_FIRST_TOKEN, [2, 20, 30, 60]);
/** Mostly well under a millisecond; the long end shows a starved event loop. */
export const OVERHEAD = join([0.0001, 0.00025, 0.0005, 0.0025], OTEL_FIRST_TOKEN, [2]);
/** Up to the total timeout (600 s). */
export const DURATION = join(OTEL_DURATION, [2, 120, 300, 600]);
