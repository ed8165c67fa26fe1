/** The HTTP face as a whole: parsing, identity, errors, and the routes mounted on one Fastify instance. */
import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import websocket from "@fastify/websocket";
import fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from "fastify";
import type { WebSocket } from "ws";
import { type ErrorCode, Fault } from "../core/errors.ts";
import { WEBSOCKET_ROUTE } from "../security/identity.ts";
import type { Tickets } from "../security/tickets.ts";
import { CLOSE } from "../transport/websocket.ts";
import { chatRoutes } from "./chat.ts";
import { faultAnswer, faultOf } from "./faults.ts";
import { generationRoutes } from "./generations.ts";
import { type GuardOptions, guard } from "./guard.ts";
import type { House } from "./house.ts";
import { openAiRoutes } from "./openai.ts";
import { operationRoutes, type Scrape } from "./operations.ts";
import { countRefusal, Session, SUBPROTOCOL } from "./session.ts";
import { ticketRoutes } from "./tickets.ts";

export interface WebOptions extends GuardOptions {
  readonly house: House;
  readonly scrape: Scrape;
  readonly tickets: Tickets;
  readonly logger: FastifyBaseLogger;
}

export interface Web {
  readonly app: FastifyInstance;
  readonly sessions: ReadonlySet<Session>;
}

/** How long a client may take to send its request. Milliseconds. */
const REQUEST_TIMEOUT_MS = 60_000;
const REQUEST_ID = /^[\x21-\x7e]{1,128}$/;

function requestId(raw: IncomingMessage): string {
  const given = raw.headers["x-request-id"];
  return typeof given === "string" && REQUEST_ID.test(given) ? given : `req_${randomUUID()}`;
}

export async function buildWeb(options: WebOptions): Promise<Web> {
  const { house } = options;
  const app = fastify({
    loggerInstance: options.logger,
    logController: new LogController({ disableRequestLogging: true }),
    requestTimeout: REQUEST_TIMEOUT_MS,
    bodyLimit: house.limits.maxBodyBytes,
    genReqId: requestId,
    requestIdHeader: false,
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: 1024 },
  });
  parseBodies(app);
  await guard(app, options);
  reportFaults(app, house);
  const sessions = await webSocketRoute(app, house);
  chatRoutes(app, house);
  generationRoutes(app, house);
  ticketRoutes(app, house, options.tickets);
  openAiRoutes(app, house);
  operationRoutes(app, house, options.scrape);
  return { app, sessions };
}

/** Bodies are kept as they came; JSON is the only type there is. */
function parseBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("application/json", { parseAs: "buffer" }, (_request, body, done) =>
    done(null, body),
  );
}

function reportFaults(app: FastifyInstance, house: House): void {
  app.setErrorHandler((thrown, request, reply) => {
    const fault = faultOf(thrown);
    if (fault.code === "internal_error") request.log.error({ err: fault.cause ?? fault }, "internal error");
    const { creates } = request.routeOptions.config;
    if (creates !== undefined) countRefusal(house, fault, creates, request.owner);
    const { status, headers, body } = faultAnswer(fault);
    return reply.code(status).headers(headers).send(body);
  });
  app.setNotFoundHandler(() => {
    throw new Fault("not_found");
  });
}

async function webSocketRoute(app: FastifyInstance, house: House): Promise<ReadonlySet<Session>> {
  const sessions = new Set<Session>();
  await app.register(websocket, {
    options: {
      maxPayload: house.limits.maxBodyBytes,
      perMessageDeflate: false,
      handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
    },
    preClose(done) {
      for (const session of sessions) session.close(CLOSE.restart, "restart");
      done();
    },
  });
  app.route({
    method: "GET",
    url: WEBSOCKET_ROUTE,
    handler: (_request, reply) => {
      reply.headers({ upgrade: "websocket", connection: "upgrade" });
      throw new Fault("upgrade_required");
    },
    wsHandler: (ws, request) => {
      if (request.refusal !== undefined) {
        refuse(ws, request.refusal);
        return;
      }
      const session = new Session(house, request, ws, request.raw.socket, (closed) =>
        sessions.delete(closed),
      );
      sessions.add(session);
      session.start();
    },
  });
  return sessions;
}

/** The close code of a refusal that is told after the upgrade. */
const REFUSAL_CODES: Partial<Record<ErrorCode, number>> = {
  too_many_connections: CLOSE.tooManyConnections,
  overloaded: CLOSE.tryLater,
};

function refuse(ws: WebSocket, fault: Fault): void {
  ws.send(JSON.stringify({ type: "error", error: fault.toObject() }));
  ws.close(REFUSAL_CODES[fault.code] ?? CLOSE.unauthenticated, fault.code);
}
