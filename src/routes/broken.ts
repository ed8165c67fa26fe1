/** What no route sees: bytes that are no request, requests too large or too slow, and CONNECT. All get the error object. */
import { type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { type Duplex, finished, Readable } from "node:stream";
import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";
import { Fault } from "../core/errors.ts";
import { faultAnswer, faultOf, writeFault } from "./faults.ts";

/** So long for a client to read why it is refused, before its socket is dropped. Milliseconds. */
const LAST_WORD_MS = 1000;

/** Node's code of what was wrong, as status (RFC 9110 and 6585) and message; anything else is a plain 400. */
const REFUSALS: Readonly<Record<string, readonly [status: number, message: string]>> = {
  ERR_HTTP_REQUEST_TIMEOUT: [408, "The request did not arrive in time."],
  HPE_HEADER_OVERFLOW: [431, "The request's address and headers are larger than this gateway accepts."],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, "The body's chunk extensions are larger than this gateway accepts."],
};

/** Answers what the parser refused. Nothing of it is logged: it may hold a key. */
export function answerUnparsed(error: NodeJS.ErrnoException, socket: Socket): void {
  if (socket.destroyed || socket.writableEnded) return;
  // Node keeps the answer that is being written on the socket: bytes of ours must not land in its middle.
  const { _httpMessage: current } = socket as Socket & { readonly _httpMessage?: ServerResponse | null };
  if (!socket.writable || error.code === "ECONNRESET" || current?.headersSent === true) {
    socket.destroy();
    return;
  }
  const [status, message] = REFUSALS[error.code ?? ""] ?? [400, "The request is not valid HTTP."];
  lastWord(socket, new Fault("invalid_request", { message }), status);
}

function lastWord(socket: Duplex, fault: Fault, status: number): void {
  const { headers, body } = faultAnswer(fault);
  const all = { ...headers, "content-length": String(body.length), connection: "close" };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join("")}\r\n${body.toString()}`);
  // A socket that is dropped at once takes the answer with it where the client is still sending.
  setTimeout(() => socket.destroy(), LAST_WORD_MS).unref();
}

/** What Fastify refuses before there is a route: an address that is not percent-encoded as it should be. */
export function answerUnrouted(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  const { status, headers, body } = faultAnswer(faultOf(error));
  void reply
    .code(status)
    .headers({ "x-request-id": request.id, ...headers })
    .send(body);
}

/**
 * The answer to a body that is refused while it may still be coming. What comes is dropped until the client is done, or
 * stops: closing the socket under a sender resets it, and the answer is lost before it is read. Node's own limit on the
 * time of a request bounds it all.
 */
export function answerSender(request: FastifyRequest, reply: FastifyReply, body: Buffer): FastifyReply {
  async function* bodyThenRest(): AsyncGenerator<Buffer> {
    yield body;
    await dropRest(request.raw);
  }
  // The length tells the client that the answer is whole, however long its end may take.
  return reply.header("content-length", body.length).send(Readable.from(bodyThenRest()));
}

function dropRest(request: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    const silence = setTimeout(resolve, LAST_WORD_MS);
    request.on("data", () => silence.refresh());
    finished(request, () => {
      clearTimeout(silence);
      resolve();
    });
  });
}

/** The events that Node would answer by itself, with nothing or with an empty body. */
export function answerOddities(server: Server): void {
  server.on("connect", (_request: IncomingMessage, socket: Duplex) => {
    socket.on("error", () => {});
    lastWord(socket, new Fault("method_not_allowed", { message: "This gateway is no proxy." }), 405);
  });
  server.on("checkExpectation", (_request: IncomingMessage, response: ServerResponse) => {
    const fault = new Fault("invalid_request", { message: "No expectation but 100-continue is met." });
    writeFault(response, fault, { connection: "close" });
  });
}
