/**
 * The body of an answer as undici's dispatcher hands it over, without a stream between: for each token a stream costs more than
 * what is done with it. Nothing here waits for a reader; the pump never does.
 */
import { EventEmitter } from "node:events";
import type { Writable } from "node:stream";
import type { Dispatcher } from "undici";

type Controller = Dispatcher.DispatchController;

/** As much of a stream of bytes as is read of an answer. Emits `data`, then `end` where it came whole, and `close` in every case. */
export interface Body {
  /** The chunk is valid only during the call. */
  on(event: "data", take: (chunk: Buffer) => void): this;
  on(event: "end" | "close" | "error", take: () => void): this;
  once(event: "end" | "close", take: () => void): this;
  /** What has come is held until it is called. */
  resume(): unknown;
  /** Gives the answer up. Safe to call again. */
  destroy(): unknown;
}

export class ResponseBody extends EventEmitter implements Body {
  readonly #controller: Controller;
  /** Until somebody listens; it comes with the headers, within one turn. */
  #held: Buffer[] | undefined = [];
  #end: "whole" | "broken" | undefined;
  #isClosed = false;

  constructor(controller: Controller) {
    super();
    this.#controller = controller;
  }

  take(chunk: Buffer): void {
    if (this.#held === undefined) this.emit("data", chunk);
    else this.#held.push(Buffer.from(chunk));
  }

  /** There is no more: it came whole, or broke off. */
  finish(end: "whole" | "broken"): void {
    this.#end ??= end;
    if (this.#held === undefined) this.#close();
  }

  resume(): this {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const chunk of held) this.emit("data", chunk);
    if (this.#end !== undefined) this.#close();
    return this;
  }

  destroy(): this {
    if (this.#end !== undefined) return this;
    // Whoever comes to listen after this is still told that it is over.
    if (this.#held !== undefined) this.#held = [];
    this.#controller.abort(new Error("the answer was given up"));
    return this;
  }

  /** Writes all of it to `out`, no faster than that takes it; they close each other. */
  pipeInto(out: Writable): void {
    this.on("data", (chunk: Buffer) => {
      if (out.write(Buffer.from(chunk))) return;
      this.#controller.pause();
      out.once("drain", () => this.#controller.resume());
    });
    this.on("end", () => out.end());
    this.on("close", () => {
      if (this.#end !== "whole") out.destroy();
    });
    out.on("close", () => this.destroy());
    this.resume();
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#end === "whole") this.emit("end");
    this.emit("close");
  }
}
