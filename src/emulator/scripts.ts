/** Which script a request gets. */
import { DEMO_PACE } from "./demo.ts";
import type { RequestBody } from "./plan.ts";
import { parseScript, type Script, ScriptError } from "./script.ts";

/** Scripts by request: `n` counts the POSTs to `/v1/` since the start or the last reset, from 1. */
export type ScriptByRequest = (body: RequestBody, n: number) => Script | undefined;

/** In order of precedence: the queue, the function, the request's own `emulator` member, the demo; all over the defaults. */
export class ScriptBook {
  script: ScriptByRequest | undefined;
  readonly #defaults: Script;
  #queue: (Script | null)[] = [];

  constructor(defaults: Script) {
    this.#defaults = parseScript(defaults, "defaults");
  }

  /**
   * @throws {ScriptError} for a script that cannot be played
   */
  scriptFor(body: RequestBody, n: number, otherwise: Script = DEMO_PACE): Script {
    const chosen = this.#choose(body, n);
    return { ...(chosen === undefined ? otherwise : {}), ...this.#defaults, ...chosen };
  }

  #choose(body: RequestBody, n: number): Script | undefined {
    const queued = this.#queue.shift() ?? undefined;
    if (queued !== undefined) return queued;
    const programmed = this.script?.(body, n);
    if (programmed !== undefined) return parseScript(programmed, "script");
    return body["emulator"] === undefined ? undefined : parseScript(body["emulator"], "emulator");
  }

  /** Replaces the queue; `null` leaves a request its own script. Answers its length. */
  enqueue(queue: unknown): number {
    if (!Array.isArray(queue)) throw new ScriptError("queue must be an array of scripts");
    this.#queue = queue.map((entry, index) =>
      entry === null ? null : parseScript(entry, `queue[${index}]`),
    );
    return this.#queue.length;
  }

  reset(): void {
    this.#queue = [];
    this.script = undefined;
  }
}
