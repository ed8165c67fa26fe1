import type { Fault } from "./errors.ts";
import type { Generation } from "./generation.ts";
import { type AttemptEnd, CONTENT, type Intake } from "./ports.ts";

/**
 * One attempt at a generation. What arrives before the first content is held back (staged in the log), so that a failed
 * attempt leaves no trace and another can be made.
 */
export class Attempt implements Intake {
  readonly #generation: Generation;
  #headers: Readonly<Record<string, string>> = {};
  #hasContent = false;
  /** When the read that is being taken in arrived; 0 between reads. */
  #readAt = 0;
  #lastContentAt = 0;
  #unread = 0;
  #end: AttemptEnd | undefined;
  #settle: (fault: Fault | undefined) => void = () => {};
  readonly settled = new Promise<Fault | undefined>((resolve) => {
    this.#settle = resolve;
  });

  constructor(generation: Generation) {
    this.#generation = generation;
    generation.attempts++;
  }

  /** How it ended, where it failed before any content; the generation goes on without it. */
  get failure(): AttemptEnd | undefined {
    return this.#hasContent || this.#end?.status !== "failed" ? undefined : this.#end;
  }

  get hasContent(): boolean {
    return this.#hasContent;
  }

  get hasEnded(): boolean {
    return this.#end !== undefined;
  }

  sent(): void {
    this.#generation.sent();
  }

  answered(headers: Readonly<Record<string, string>>): void {
    this.#headers = headers;
  }

  append(bytes: Buffer, start: number, end: number, flags: number): void {
    const generation = this.#generation;
    if (this.#end !== undefined || generation.isEnded) return;
    generation.log.append(bytes, start, end, flags);
    if ((flags & CONTENT) !== 0) this.#content();
  }

  flush(): void {
    this.#readAt = 0;
    if (this.#hasContent) this.#generation.log.publish();
    if (this.#unread === 0) return;
    this.#generation.observer.unread(this.#unread);
    this.#unread = 0;
  }

  end(end: AttemptEnd): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#settle(this.#hasContent ? undefined : end.fault);
    const generation = this.#generation;
    if (generation.isEnded) return;
    generation.observer.attemptEnded(generation.facts, end);
    if (end.status === "failed" && !this.#hasContent) {
      generation.log.discard();
      return;
    }
    generation.answerHeaders = this.#headers;
    generation.log.publishLast();
    generation.finish(end);
  }

  #content(): void {
    const generation = this.#generation;
    if (this.#readAt === 0) this.#readAt = performance.now();
    generation.contentEvents++;
    if (generation.isUnread) this.#unread++;
    if (this.#hasContent) generation.observer.content(generation.facts, this.#readAt - this.#lastContentAt);
    else this.#firstContent();
    this.#lastContentAt = this.#readAt;
  }

  #firstContent(): void {
    this.#hasContent = true;
    this.#settle(undefined);
    const generation = this.#generation;
    generation.answerHeaders = this.#headers;
    if (generation.spec.stream) generation.firstContent(generation.log.stagedSeq, this.#readAt);
  }
}
