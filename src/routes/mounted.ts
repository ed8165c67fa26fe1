/** The gateway's app inside another Fastify app: what comes under a prefix is handed to it with its connection. */
import { type IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { WEBSOCKET_ROUTE } from "../security/identity.ts";
import type { Web } from "./web.ts";

interface Upgrade {
  readonly socket: Socket;
  readonly head: Buffer;
}

/**
 * The other app's hooks up to `preHandler` run first and may refuse. Its parsers and error handler never do: the answer,
 * faults included, is the gateway's own.
 * @param host the other app, encapsulated, with the prefix
 */
export async function mountIn(host: FastifyInstance, { app, guests }: Web): Promise<void> {
  await app.ready();
  const upgrades = new WeakMap<IncomingMessage, Upgrade>();
  const isShared = host.hasDecorator("websocketServer");
  // A handler would not do: a WebSocket plugin of the other app's replaces it where a request is an upgrade.
  const pass = async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const { raw } = request;
    const url = raw.url ?? "";
    // The router compares decoded paths; one that is written otherwise is not looked for here.
    if (!url.startsWith(host.prefix)) return reply.callNotFound() as unknown as FastifyReply;
    reply.hijack();
    raw.url = url.slice(host.prefix.length).replace(/^(?!\/)/, "/");
    const upgrade = upgrades.get(raw) ?? (isShared ? takenBy(request) : undefined);
    if (upgrade !== undefined && isWebSocket(raw.url, "")) return handOver(app, reply, upgrade);
    guests.add(reply.raw);
    reply.raw.once("close", () => guests.delete(reply.raw));
    app.routing(raw, reply.raw);
    return reply;
  };
  // Bodies stay in their socket for the gateway to read.
  host.removeAllContentTypeParsers();
  host.addContentTypeParser("*", (_request, _payload, done) => done(null));
  for (const path of ["/", "/*"]) host.all(path, { preHandler: pass }, (_request, reply) => reply);
  if (!isShared) takeUpgrades(host, upgrades);
}

/** Upgrades pass the other app's hooks as well. */
function takeUpgrades(host: FastifyInstance, upgrades: WeakMap<IncomingMessage, Upgrade>): void {
  const { server } = host;
  server.on("upgrade", (raw: IncomingMessage, duplex: Duplex, head: Buffer) => {
    const socket = duplex as Socket;
    // Whoever else listens answers what is not ours.
    if (!isWebSocket(raw.url, host.prefix) && server.listenerCount("upgrade") > 1) return;
    socket.on("error", destroy);
    upgrades.set(raw, { socket, head });
    const response = new ServerResponse(raw);
    response.shouldKeepAlive = false;
    response.assignSocket(socket);
    response.once("finish", () => socket.end());
    host.routing(raw, response);
  });
}

function destroy(this: Socket): void {
  this.destroy();
}

/** What the other app's own WebSocket plugin has taken. It keeps the first bytes to itself; before the answer there are none. */
function takenBy(request: FastifyRequest): Upgrade | undefined {
  return request.ws ? { socket: request.raw.socket, head: Buffer.alloc(0) } : undefined;
}

function handOver(app: FastifyInstance, reply: FastifyReply, { socket, head }: Upgrade): FastifyReply {
  reply.raw.detachSocket(socket);
  socket.removeListener("error", destroy);
  app.server.emit("upgrade", reply.request.raw, socket, head);
  return reply;
}

const isWebSocket = (url: string | undefined, prefix: string): boolean =>
  url?.split("?", 1)[0] === prefix + WEBSOCKET_ROUTE;
