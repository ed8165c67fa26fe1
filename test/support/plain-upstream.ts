/** An upstream of a few lines, for answers that a script does not describe: too large, or none at all. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface PlainUpstream {
  readonly url: string;
  /** POSTs that came and are not answered or gone. */
  readonly open: number;
  close(): Promise<void>;
}

const MODELS = JSON.stringify({ object: "list", data: [{ id: "plain", object: "model" }] });

/** Answers POSTs as `answer` does; GETs are the list of its one model. */
export async function startPlainUpstream(
  answer: (response: ServerResponse, body: string, request: IncomingMessage) => void,
): Promise<PlainUpstream> {
  let open = 0;
  const server = createServer(async (request, response) => {
    if (request.method === "GET") {
      response.writeHead(200, { "content-type": "application/json" }).end(MODELS);
      return;
    }
    open++;
    response.on("close", () => open--);
    let body = "";
    for await (const part of request) body += part;
    answer(response, body, request);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    get open() {
      return open;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** A whole answer, and the same as a stream of one event. */
export const wholeAnswer = (content: string): string =>
  JSON.stringify({
    object: "chat.completion",
    choices: [{ index: 0, message: { content }, finish_reason: "stop" }],
  });

export const eventOf = (content: string): string =>
  `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason: null }] })}\n\n`;
