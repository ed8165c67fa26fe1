/** Produces one generation: a slot, an upstream, an attempt; and another upstream while nothing has been shown yet. */
import type { Lease, Place } from "./admission.ts";
import { Attempt } from "./attempt.ts";
import { Fault } from "./errors.ts";
import type { Generation } from "./generation.ts";
import type { AttemptEnd, Call, Upstream } from "./ports.ts";

export interface Order {
  /** Those that serve the model, in order of preference. */
  readonly upstreams: readonly Upstream[];
  /** The call, made once, when the first slot is granted: its clock covers all attempts. */
  call(): Call;
  /** A place for the next attempt, at one of the upstreams that are left. Throws where there is no room. */
  enter(left: readonly Upstream[]): Place<Upstream>;
}

/** Those that are well first; the others are asked only when nothing else is left. */
export function byHealth(upstreams: readonly Upstream[]): readonly Upstream[] {
  if (upstreams.every(({ isWell }) => isWell)) return upstreams;
  return [...upstreams.filter(({ isWell }) => isWell), ...upstreams.filter(({ isWell }) => !isWell)];
}

/**
 * Asks one upstream after the other until content comes, or the reason of the failure lies elsewhere.
 * @returns the last failure; undefined where the generation has ended by itself
 * @throws Fault what ended the wait for a slot
 */
export async function produce(
  generation: Generation,
  first: Place<Upstream>,
  order: Order,
): Promise<AttemptEnd | undefined> {
  let place = first;
  let call: Call | undefined;
  let left = order.upstreams;
  let failed: { readonly upstream: string; readonly code: string } | undefined;
  for (;;) {
    // There at once, it is used at once: the upstream is asked before anything else is done for the request.
    const lease = place.lease ?? (await granted(generation, place));
    generation.admitted();
    // Only now is another one asked: the wait for it may have ended otherwise.
    if (failed !== undefined && !generation.isEnded)
      generation.observer.upstreamRetried(failed.upstream, failed.code);
    call ??= order.call();
    let failure: AttemptEnd | undefined;
    try {
      failure = await attempt(generation, lease.target, call);
    } finally {
      // Before another slot is taken.
      lease.release();
    }
    left = left.filter((upstream) => upstream !== lease.target);
    if (generation.isEnded) return undefined;
    if (failure?.fault === undefined || left.length === 0 || !mayMoveOn(failure.fault, call)) return failure;
    const next = nextPlace(order, left);
    if (next === undefined) return failure;
    failed = { upstream: lease.target.name, code: failure.fault.code };
    place = next;
  }
}

/** Where the line is full, the failure stands: it says more than the refusal would. */
function nextPlace(order: Order, left: readonly Upstream[]): Place<Upstream> | undefined {
  try {
    return order.enter(left);
  } catch (thrown) {
    if (thrown instanceof Fault) return undefined;
    throw thrown;
  }
}

/** The lease of a place. A generation that is stopped while it waits gives its place up at once. */
async function granted(generation: Generation, place: Place<Upstream>): Promise<Lease<Upstream>> {
  const leave = (): void => place.leave(new Fault("cancelled"));
  const signal = generation.stopped;
  signal.addEventListener("abort", leave, { once: true });
  if (signal.aborted) leave();
  try {
    return await place.granted;
  } finally {
    signal.removeEventListener("abort", leave);
  }
}

/** One attempt. @returns how it failed, where it did before any content; otherwise the generation has ended */
async function attempt(
  generation: Generation,
  upstream: Upstream,
  call: Call,
): Promise<AttemptEnd | undefined> {
  if (generation.isEnded) return undefined;
  generation.upstream = upstream.name;
  const intake = new Attempt(generation);
  const headers = generation.observer.attempted(generation.facts, upstream.name);
  await upstream.attempt(headers === undefined ? call : { ...call, headers }, intake, generation.stopped);
  if (!intake.hasEnded && !generation.isEnded) {
    throw new Error(`upstream ${upstream.name} came back without an ending`);
  }
  return intake.failure;
}

/** Statuses of a refusal that say nothing against the request itself; none where the upstream's own fault is not relayed. */
const NOT_THE_REQUEST: readonly (number | undefined)[] = [undefined, 408, 429];

/** Whether another upstream may do better: the fault is the upstream's, and the request's own time is not up. */
function mayMoveOn(fault: Fault, call: Call): boolean {
  switch (fault.code) {
    case "upstream_unreachable":
    case "upstream_disconnected":
      return true;
    case "upstream_error":
      return NOT_THE_REQUEST.includes(fault.said?.status);
    case "upstream_timeout":
      // It was the one upstream's patience that ended. A request's own timeout is not retried: it may have been billed.
      return performance.now() < call.firstContentBy;
    default:
      return false;
  }
}
