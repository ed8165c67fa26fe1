import { Fault } from "./errors.ts";
import type { Generation } from "./generation.ts";

interface Named {
  readonly idempotencyKey: string | undefined;
  readonly owner: string;
  readonly fingerprint: () => string;
}

interface Kept {
  readonly generation: Generation;
  readonly fingerprint: string;
}

/** Which generation an idempotency key stands for, for as long as that generation is running or retained. */
export class Idempotency {
  readonly #kept = new Map<string, Kept>();
  /** The names by generation id, to forget them by. */
  readonly #names = new Map<string, string>();

  /**
   * The generation to attach to, if there is one.
   * @throws Fault `idempotency_conflict` where the key came with another request
   */
  find(request: Named): Generation | undefined {
    const name = nameOf(request);
    const kept = name === undefined ? undefined : this.#kept.get(name);
    if (kept === undefined || isSpent(kept.generation)) return undefined;
    if (kept.fingerprint !== request.fingerprint()) throw new Fault("idempotency_conflict");
    return kept.generation;
  }

  keep(request: Named, generation: Generation): void {
    const name = nameOf(request);
    if (name === undefined) return;
    this.#kept.set(name, { generation, fingerprint: request.fingerprint() });
    this.#names.set(generation.id, name);
  }

  forget(generation: Generation): void {
    const name = this.#names.get(generation.id);
    if (name === undefined) return;
    this.#names.delete(generation.id);
    // A spent generation's name may have passed on to the next.
    if (this.#kept.get(name)?.generation === generation) this.#kept.delete(name);
  }
}

const nameOf = (request: Named): string | undefined =>
  request.idempotencyKey === undefined ? undefined : `${request.owner}\n${request.idempotencyKey}`;

/** A generation that failed or was cancelled before content: the same request may be tried anew. */
const isSpent = (generation: Generation): boolean =>
  generation.contentEvents === 0 && (generation.status === "failed" || generation.status === "cancelled");
