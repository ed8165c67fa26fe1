import type { Generation } from "../core/generation.ts";
import type { Ending } from "../core/ports.ts";

/** Turns events `after+1 .. last` into what goes on the wire. */
export type EncodeBatch<Encoded = Buffer> = (generation: Generation, after: number, last: number) => Encoded;

interface Latest<Encoded> {
  readonly generation: Generation;
  readonly after: number;
  readonly last: number;
  readonly encoded: Encoded;
}

/**
 * The same encoding, made once for all readers that stand at the same position: those that keep up all do, and a log wakes them
 * one after the other, so that what was encoded last is all that needs to be kept. A reader that lags encodes its own batch.
 */
export function shared<Encoded>(encode: EncodeBatch<Encoded>): EncodeBatch<Encoded> {
  let latest: Latest<Encoded> | undefined;
  return (generation, after, last) => {
    if (latest?.generation === generation && latest.after === after && latest.last === last)
      return latest.encoded;
    const encoded = encode(generation, after, last);
    latest = { generation, after, last, encoded };
    return encoded;
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
