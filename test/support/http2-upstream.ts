/** An upstream that speaks HTTP/2 over TLS (and HTTP/1.1 to who does not), answering as each request's prompt tells. */
import { once } from "node:events";
import { mkdtempSync, readFileSync } from "node:fs";
import { createSecureServer, type Http2Session, type ServerHttp2Stream, type Settings } from "node:http2";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { makeCertificate } from "./proxies.ts";

/** What a prompt asks for, as JSON: so many events, so far apart, of that many bytes; and what goes wrong after some of them. */
export interface Http2Script {
  readonly events: number;
  readonly gapMs?: number;
  readonly bytes?: number;
  readonly fault?: "reset" | "refuse" | "goaway" | "cut";
  /** Events before the fault. */
  readonly after?: number;
}

export interface Http2Upstream {
  readonly url: string;
  /** The certificate's file, for NODE_EXTRA_CA_CERTS. */
  readonly trust: string;
  /** Connections that were made, and those that are open. */
  readonly sessions: { made: number; open: Set<Http2Session> };
  /** Requests that came, by protocol; streams open now, and the most at once on one connection; those that the client gave up. */
  readonly seen: { h1: number; h2: number; open: number; most: number; aborted: number };
  close(): Promise<void>;
}

export const contentOf = (n: number, bytes = 8): string => `${n}:`.padEnd(bytes, "x");

export const eventLine = (n: number, bytes?: number): string => {
  const choice = { index: 0, delta: { content: contentOf(n, bytes) }, finish_reason: null };
  return `data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", choices: [choice] })}\n\n`;
};

const FINISH = `data: ${JSON.stringify({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }] })}\n\ndata: [DONE]\n\n`;
const MODELS = JSON.stringify({ object: "list", data: [{ id: "h2", object: "model" }] });
/** RFC 9113, section 7. */
const INTERNAL_ERROR = 2;
const REFUSED_STREAM = 7;

export async function startHttp2Upstream(settings: Settings = {}, allowHTTP1 = true): Promise<Http2Upstream> {
  const folder = mkdtempSync(join(tmpdir(), "sluice-h2-"));
  makeCertificate(folder);
  const seen = { h1: 0, h2: 0, open: 0, most: 0, aborted: 0 };
  const sessions = { made: 0, open: new Set<Http2Session>() };
  const server = createSecureServer({
    key: readFileSync(join(folder, "key.pem")),
    cert: readFileSync(join(folder, "chain.pem")),
    allowHTTP1,
    settings,
  });
  server.on("session", (session) => {
    sessions.made++;
    sessions.open.add(session);
    session.on("close", () => sessions.open.delete(session));
    session.on("error", () => {});
    let streams = 0;
    session.on("stream", (stream: ServerHttp2Stream, headers) => {
      stream.on("error", () => {});
      if (headers[":method"] === "GET") {
        stream.respond({ ":status": 200, "content-type": "application/json" });
        stream.end(MODELS);
        return;
      }
      seen.h2++;
      seen.open++;
      seen.most = Math.max(seen.most, ++streams);
      stream.on("aborted", () => seen.aborted++);
      stream.on("close", () => {
        seen.open--;
        streams--;
      });
      void answer(stream, session);
    });
  });
  server.on("request", (request, response) => {
    if (request.httpVersionMajor !== 1) return;
    if (request.method !== "GET") seen.h1++;
    response.writeHead(200, {
      "content-type": request.method === "GET" ? "application/json" : "text/event-stream",
    });
    response.end(request.method === "GET" ? MODELS : `${eventLine(0)}${FINISH}`);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `https://localhost:${(server.address() as AddressInfo).port}/v1`,
    trust: join(folder, "chain.pem"),
    sessions,
    seen,
    async close() {
      for (const session of sessions.open) session.destroy();
      const closed = once(server, "close");
      server.close();
      await closed;
    },
  };
}

async function answer(stream: ServerHttp2Stream, session: Http2Session): Promise<void> {
  let body = "";
  for await (const part of stream.setEncoding("utf8")) body += part;
  const { messages } = JSON.parse(body) as { messages: { content: string }[] };
  const script = JSON.parse(messages[0]?.content ?? "{}") as Http2Script;
  const faultAt = script.fault === undefined ? -1 : (script.after ?? 0);
  if (script.fault === "refuse") return void stream.close(REFUSED_STREAM);
  stream.respond({ ":status": 200, "content-type": "text/event-stream" });
  const closed = new Promise((resolve) => stream.once("close", resolve));
  for (let n = 0; n < script.events && !stream.destroyed; n++) {
    if (n === faultAt && breaks(script, stream, session)) return;
    if (!stream.write(eventLine(n, script.bytes)))
      await Promise.race([new Promise((resolve) => stream.once("drain", resolve)), closed]);
    if (script.gapMs !== undefined) await sleep(script.gapMs);
  }
  if (!stream.destroyed) stream.end(FINISH);
}

/** @returns whether the stream is over with it */
function breaks({ fault }: Http2Script, stream: ServerHttp2Stream, session: Http2Session): boolean {
  if (fault === "goaway") {
    session.goaway();
    return false;
  }
  if (fault === "cut") session.destroy();
  else stream.close(INTERNAL_ERROR);
  return true;
}
