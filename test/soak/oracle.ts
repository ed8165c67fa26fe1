/** Holds what a stream brings against what its script says, event by event and byte for byte. */
import type { Plan } from "./plan.ts";

/** How a stream was told that it is over. */
export interface Told {
  readonly status: string;
  readonly code?: string | undefined;
  /** The ending's own, where the transport numbers it. */
  readonly seq?: number | undefined;
}

const HEAD =
  /^\{"id":"chatcmpl-emulator\d{8,}","object":"chat\.completion\.chunk","created":\d+,"model":"sluice-demo","system_fingerprint":"fp_sluice_emulator","choices":/;
const PADDING_FRAME = `,"obfuscation":""`.length;

export class Oracle {
  /** Events taken, which is also the last seq. */
  count = 0;
  readonly #plan: Plan;
  readonly #total: number;
  #head: string | undefined;

  constructor(plan: Plan) {
    this.#plan = plan;
    const { failure, words } = plan;
    // The role comes before the words, the finish reason after them.
    if (failure === undefined) this.#total = words.length + 2;
    else this.#total = failure.after === 0 ? 0 : failure.after + 1;
  }

  /** @returns what is wrong with the event, if anything */
  take(seq: number | undefined, payload: string): string | undefined {
    if (seq !== undefined && seq !== this.count + 1) return `seq ${seq} after ${this.count}`;
    if (this.count >= this.#total) return `an event more than its ${this.#total}: ${payload}`;
    this.#head ??= HEAD.exec(payload)?.[0];
    const wanted = this.#payload(this.count);
    this.count++;
    if (payload === wanted) return undefined;
    return `event ${this.count} is ${payload.slice(0, 300)}, not ${wanted.slice(0, 300)}`;
  }

  /** @returns what is wrong with the ending, if anything */
  end({ status, code, seq }: Told, wasCancelled: boolean): string | undefined {
    const { failure } = this.#plan;
    const told = `${status} ${code ?? ""} after ${this.count} of ${this.#total}`;
    if (seq !== undefined && seq !== this.count + 1) return `${told}: the ending's seq is ${seq}`;
    if (wasCancelled && (status === "cancelled" || code === "cancelled")) return undefined;
    if (failure === undefined) return status === "completed" && this.count === this.#total ? undefined : told;
    if (status !== "failed") return `${told}, though it was to fail`;
    if (failure.code !== undefined && code !== failure.code) return `${told}, not ${failure.code}`;
    return this.count === this.#total || failure.isLoose ? undefined : told;
  }

  #payload(index: number): string {
    const { words, script } = this.#plan;
    const word = words[index - 1];
    if (index === 0) return this.#chunk(`{"role":"assistant","content":""}`, "null", script.payload_bytes);
    if (word === undefined) return this.#chunk("{}", `"stop"`, script.payload_bytes);
    return this.#chunk(`{"content":${JSON.stringify(word)}}`, "null", script.payload_bytes);
  }

  #chunk(delta: string, reason: string, size = 0): string {
    const json = `${this.#head}[{"index":0,"delta":${delta},"logprobs":null,"finish_reason":${reason}}]`;
    const missing = size - json.length - 1 - PADDING_FRAME;
    return missing > 0 ? `${json},"obfuscation":"${"x".repeat(missing)}"}` : `${json}}`;
  }
}
