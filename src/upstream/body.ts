/**
 * The body of an answer as undici's dispatcher hands it over, without a stream between: for each token a stream costs more than
 * what is done with it. Nothing here waits for a reader; the pump never does.
 */
import type { Transform, Writable } from "node:stream";
import type { Dispatcher } from "undici";

type Controller = Dispatcher.DispatchController;

/** Takes a body's next bytes, `bytes[start..end)`; they are valid only during the call. */
export type Take = (bytes: Buffer, start: number, end: number) => void;

/** Who takes a body. */
export interface BodySink {
  readonly data: Take;
  /** There is no more. Called once. @param isWhole whether it came to its end, or broke off */
  over(isWhole: boolean): void;
}

/** The bytes of an answer. */
export interface Body {
  /** Starts handing it over. Called once; what has come by then is held. */
  flow(sink: BodySink): void;
  /** Gives the answer up. Safe to call again. */
  destroy(): void;
}

export class ResponseBody implements Body {
  readonly #controller: Controller;
  #sink: BodySink | undefined;
  /** Until somebody takes it; that comes with the headers, within one turn. */
  #held: Buffer[] = [];
  #end: "whole" | "broken" | undefined;

  constructor(controller: Controller) {
    this.#controller = controller;
  }

  take(bytes: Buffer, start: number, end: number): void {
    if (this.#end !== undefined) return;
    if (this.#sink !== undefined) this.#sink.data(bytes, start, end);
    else this.#held.push(Buffer.from(bytes.subarray(start, end)));
  }

  /** There is no more: it came whole, or broke off. */
  finish(end: "whole" | "broken"): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#sink?.over(end === "whole");
  }

  flow(sink: BodySink): void {
    for (let chunk = this.#held.shift(); chunk !== undefined; chunk = this.#held.shift())
      sink.data(chunk, 0, chunk.length);
    this.#sink = sink;
    if (this.#end !== undefined) sink.over(this.#end === "whole");
  }

  destroy(): void {
    // Whoever comes to take it after this is still told that it is over.
    this.#held = [];
    if (this.#end === undefined) this.#controller.abort(new Error("the answer was given up"));
  }

  /** Writes all of it to `out`, no faster than that takes it. A body that broke off destroys `out`. */
  pipeInto(out: Writable): void {
    const controller = this.#controller;
    this.flow({
      data: (bytes, start, end) => {
        if (out.write(Buffer.from(bytes.subarray(start, end)))) return;
        controller.pause();
        out.once("drain", () => controller.resume());
      },
      over: (isWhole) => {
        if (isWhole) out.end();
        else out.destroy();
      },
    });
  }
}

/** A body whose content encoding is taken off on the way. */
export class DecodedBody implements Body {
  readonly #source: ResponseBody;
  readonly #decoder: Transform;

  constructor(source: ResponseBody, decoder: Transform) {
    this.#source = source;
    this.#decoder = decoder;
    // Broken bytes close it, as a broken connection does; who takes it sees that no end came.
    decoder.on("error", () => {});
    decoder.once("close", () => source.destroy());
    source.pipeInto(decoder);
  }

  flow(sink: BodySink): void {
    let isOver = false;
    const over = (isWhole: boolean): void => {
      if (isOver) return;
      isOver = true;
      sink.over(isWhole);
    };
    this.#decoder.on("data", (chunk: Buffer) => sink.data(chunk, 0, chunk.length));
    this.#decoder.once("end", () => over(true));
    this.#decoder.once("close", () => over(false));
    if (this.#decoder.closed) over(this.#decoder.readableEnded);
  }

  destroy(): void {
    this.#source.destroy();
    this.#decoder.destroy();
  }
}
