import type { Generation } from "../core/generation.ts";
import type { Ending } from "../core/ports.ts";

/** Turns events `after+1 .. last` into bytes. */
export type EncodeBatch = (generation: Generation, after: number, last: number) => Buffer;

interface Encoded {
  readonly after: number;
  readonly last: number;
  readonly bytes: Buffer;
}

/**
 * The same encoding, made once for all readers that stand at the same position: those that keep up all do. A reader that
 * lags encodes its own, larger batch.
 */
export function shared(encode: EncodeBatch): EncodeBatch {
  const latest = new WeakMap<Generation, Encoded>();
  return (generation, after, last) => {
    const found = latest.get(generation);
    if (found !== undefined && found.after === after && found.last === last) return found.bytes;
    const bytes = encode(generation, after, last);
    latest.set(generation, { after, last, bytes });
    return bytes;
  };
}

/** The ending as `/events` and WebSocket tell it, less its seq. */
export function endingObject(ending: Ending): Record<string, unknown> {
  const { status, usage, fault, timing } = ending;
  return {
    status,
    ...(usage === undefined ? {} : { usage }),
    ...(fault === undefined ? {} : { error: fault.toObject() }),
    timing,
  };
}

/** The generation as a resource: `GET /v1/generations/{id}`. */
export function generationObject(generation: Generation): Record<string, unknown> {
  const { log, position } = generation;
  const ending = log.ending === undefined ? { timing: generation.timing } : endingObject(log.ending);
  return {
    id: generation.id,
    object: "generation",
    status: generation.status,
    model: generation.spec.model ?? null,
    created: generation.created,
    ...(position === undefined ? {} : { position }),
    last_seq: log.lastSeq,
    readers: generation.readers,
    ...ending,
  };
}
