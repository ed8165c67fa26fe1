/** The HTTP face as a whole: parsing, identity, errors, and the routes mounted on one Fastify instance. */
import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import websocket from "@fastify/websocket";
import fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from "fastify";
import type { WebSocket } from "ws";
import { type ErrorCode, Fault, thrownAt } from "../core/errors.ts";
import { WEBSOCKET_ROUTE } from "../security/identity.ts";
import type { Tickets } from "../security/tickets.ts";
import { CLOSE } from "../transport/websocket.ts";
import { answerOddities, answerSender, answerUnparsed, answerUnrouted } from "./broken.ts";
import { chatRoutes, isResume } from "./chat.ts";
import { faultAnswer, faultOf } from "./faults.ts";
import { generationRoutes } from "./generations.ts";
import { type GuardOptions, guard } from "./guard.ts";
import { type House, originOf } from "./house.ts";
import { openAiRoutes } from "./openai.ts";
import { operationRoutes, type Scrape } from "./operations.ts";
import { countRefusal } from "./refusals.ts";
import { Session, SUBPROTOCOL } from "./session.ts";
import { ticketRoutes } from "./tickets.ts";
import { faultAsText, isUiChat, uiChatRoutes } from "./ui-chat.ts";

export interface WebOptions extends GuardOptions {
  readonly house: House;
  readonly scrape: Scrape;
  readonly tickets: Tickets;
  readonly logger: FastifyBaseLogger;
}

export interface Web {
  readonly app: FastifyInstance;
  readonly sessions: ReadonlySet<Session>;
  /** What is being answered on the connections of another server that has this app in it. */
  readonly guests: Set<ServerResponse>;
}

/** How long a client may take to send its request. Milliseconds. */
const REQUEST_TIMEOUT_MS = 60_000;
/** Of that, for its headers. */
const HEADERS_TIMEOUT_MS = 20_000;
/** How often it is looked who is late. Milliseconds. */
const LATE_CHECK_MS = 5_000;
const REQUEST_ID = /^[\x21-\x7e]{1,128}$/;

function requestId(raw: IncomingMessage): string {
  const given = raw.headers["x-request-id"];
  return typeof given === "string" && REQUEST_ID.test(given) ? given : `req_${randomUUID()}`;
}

/** No other upgrade is taken (curl and Java's client offer `h2c`): such a request is answered as if it offered none. */
const isWebSocket = ({ url, headers }: IncomingMessage): boolean =>
  url?.split("?", 1)[0] === WEBSOCKET_ROUTE && headers.upgrade?.toLowerCase() === "websocket";

export async function buildWeb(options: WebOptions): Promise<Web> {
  const { house } = options;
  const app = fastify({
    loggerInstance: options.logger,
    // One made for each request costs more than its routing; the lines that name a request do so themselves.
    childLoggerFactory: (logger) => logger,
    http: {
      shouldUpgradeCallback: isWebSocket,
      headersTimeout: HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: LATE_CHECK_MS,
      // The guard misses it with an error object.
      requireHostHeader: false,
    },
    clientErrorHandler: answerUnparsed,
    frameworkErrors: answerUnrouted,
    logController: new LogController({ disableRequestLogging: true }),
    requestTimeout: REQUEST_TIMEOUT_MS,
    bodyLimit: house.limits.maxBodyBytes,
    genReqId: requestId,
    requestIdHeader: false,
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: 1024 },
  });
  answerOddities(app.server);
  parseBodies(app);
  // Before all routes: one that is mounted and waited for keeps the error handler of that moment.
  reportFaults(app, house);
  // Before the guard: the plugin closes the socket of an upgrade that is refused only if it saw the request first.
  const sessions = await webSocketRoute(app, house);
  await guard(app, options);
  chatRoutes(app, house);
  uiChatRoutes(app, house);
  generationRoutes(app, house);
  ticketRoutes(app, house, options.tickets);
  openAiRoutes(app, house);
  operationRoutes(app, house, options.scrape);
  return { app, sessions, guests: new Set() };
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
    if (fault.code === "internal_error")
      request.log.error({ reqId: request.id, ...thrownAt(fault.cause ?? fault) }, "internal error");
    const { creates } = request.routeOptions.config;
    if (creates !== undefined && !isResume(request)) {
      const origin = originOf(house, request);
      countRefusal(house, fault, { transport: creates, key: request.owner, origin });
    }
    const { status, headers, body } = (isUiChat(request) ? faultAsText : faultAnswer)(fault);
    reply.code(status).headers(headers);
    return fault.code === "body_too_large" ? answerSender(request, reply, body) : reply.send(body);
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
      maxFragments: MAX_FRAGMENTS,
      maxBufferedChunks: MAX_CHUNKS,
      handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
    },
    // What a client sends that is no WebSocket is its own fault: ws closes with a code, and nobody needs to read of it.
    errorHandler: (_error, ws) => {
      if (ws.readyState === ws.OPEN) ws.terminate();
    },
    preClose(done) {
      for (const session of sessions) session.close(CLOSE.restart, "restart");
      done();
    },
  });
  app.route({
    method: ["POST", "PUT", "PATCH", "DELETE"],
    url: WEBSOCKET_ROUTE,
    handler: (_request, reply) => {
      reply.header("allow", "GET");
      throw new Fault("method_not_allowed");
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
      const { owner, only } = request;
      const client = { owner, only, origin: originOf(house, request) };
      const session = new Session(house, client, ws, request.raw.socket, (closed) => sessions.delete(closed));
      sessions.add(session);
      session.start();
    },
  });
  return sessions;
}

/** Of one message: frames, and pieces in which they may lie in memory. Each costs far more than the byte that it may hold. */
const MAX_FRAGMENTS = 4096;
const MAX_CHUNKS = 16_384;

/** The close code of a refusal that is told after the upgrade. */
const REFUSAL_CODES: Partial<Record<ErrorCode, number>> = {
  too_many_connections: CLOSE.tooManyConnections,
  overloaded: CLOSE.tryLater,
};

function refuse(ws: WebSocket, fault: Fault): void {
  ws.send(JSON.stringify({ type: "error", error: fault.toObject() }));
  ws.close(REFUSAL_CODES[fault.code] ?? CLOSE.unauthenticated, fault.code);
}
