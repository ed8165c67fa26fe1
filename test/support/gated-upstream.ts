/** An upstream whose every event is released by the test: what it sends, it sends after what the test has seen. */
import type { ServerResponse } from "node:http";
import { eventOf, type PlainUpstream, startPlainUpstream } from "./plain-upstream.ts";

export interface GatedUpstream extends PlainUpstream {
  /** The next request, once it has come; each is given out once. */
  next(): Promise<GatedAnswer>;
}

export class GatedAnswer {
  readonly #response: ServerResponse;

  constructor(response: ServerResponse) {
    this.#response = response;
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.flushHeaders();
  }

  /** Sends one content event; returns when: monotonic milliseconds, before the write. */
  say(content: string): number {
    const at = performance.now();
    this.#response.write(eventOf(content));
    return at;
  }

  /** Ends the stream well; with the output tokens that a usage tells, where they are given. */
  finish(outputTokens?: number): void {
    const finish = { choices: [{ index: 0, delta: {}, finish_reason: "stop" }] };
    const usage = { choices: [], usage: { prompt_tokens: 1, completion_tokens: outputTokens } };
    const last = outputTokens === undefined ? [finish] : [finish, usage];
    this.#response.end(`${last.map((one) => `data: ${JSON.stringify(one)}\n\n`).join("")}data: [DONE]\n\n`);
  }
}

export async function startGatedUpstream(): Promise<GatedUpstream> {
  const come: GatedAnswer[] = [];
  const waiting: ((answer: GatedAnswer) => void)[] = [];
  const plain = await startPlainUpstream((response) => {
    const answer = new GatedAnswer(response);
    const next = waiting.shift();
    if (next === undefined) come.push(answer);
    else next(answer);
  });
  return {
    url: plain.url,
    get open() {
      return plain.open;
    },
    close: plain.close,
    next: () =>
      new Promise((resolve) => {
        const answer = come.shift();
        if (answer === undefined) waiting.push(resolve);
        else resolve(answer);
      }),
  };
}
