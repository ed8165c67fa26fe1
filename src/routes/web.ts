/** The HTTP face as a whole: parsing, identity, errors, and the routes mounted on one Fastify instance. */
import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import websocket from "@fastify/websocket";
import fastify, { type FastifyBaseLogger, type FastifyInstance, type FastifyRequest } from "fastify";
import { Fault } from "../core/errors.ts";
import { type BrowserRules, checkBrowser } from "../security/browsers.ts";
import { type Keys, NO_OWNER } from "../security/keys.ts";
import { CLOSE } from "../transport/websocket.ts";
import { chatRoutes } from "./chat.ts";
import { faultAnswer, faultOf } from "./faults.ts";
import { generationRoutes } from "./generations.ts";
import { type House, headerOf } from "./house.ts";
import { openAiRoutes } from "./openai.ts";
import { HEALTH_PATHS, OPEN_PATHS, operationRoutes, type Scrape } from "./operations.ts";
import { countRefusal, Session, SUBPROTOCOL } from "./session.ts";

export interface WebOptions {
  readonly house: House;
  readonly scrape: Scrape;
  readonly keys: Keys;
  readonly browsers: BrowserRules;
  /** `/metrics` needs no key. */
  readonly areMetricsOpen: boolean;
  readonly maxConnections: number;
  readonly logger: FastifyBaseLogger;
}

export interface Web {
  readonly app: FastifyInstance;
  readonly sessions: ReadonlySet<Session>;
}

const REQUEST_ID = /^[\x21-\x7e]{1,128}$/;

function requestId(raw: IncomingMessage): string {
  const given = raw.headers["x-request-id"];
  return typeof given === "string" && REQUEST_ID.test(given) ? given : `req_${randomUUID()}`;
}

export async function buildWeb(options: WebOptions): Promise<Web> {
  const { house } = options;
  const app = fastify({
    loggerInstance: options.logger,
    disableRequestLogging: true,
    bodyLimit: house.limits.maxBodyBytes,
    genReqId: requestId,
    requestIdHeader: false,
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: 1024 },
  });
  app.server.maxConnections = options.maxConnections;
  parseBodies(app);
  guard(app, options);
  reportFaults(app, house);
  const sessions = await webSocketRoute(app, house);
  chatRoutes(app, house);
  generationRoutes(app, house);
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

function guard(app: FastifyInstance, { house, keys, browsers, areMetricsOpen }: WebOptions): void {
  app.decorateRequest("owner", NO_OWNER);
  app.addHook("onRequest", async (request, reply) => {
    reply.header("x-request-id", request.id);
    if (house.gateway.isDraining) reply.header("connection", "close");
    const path = request.url.split("?", 1)[0] ?? "/";
    if (!HEALTH_PATHS.has(path)) checkBrowser(browserFacts(request), browsers);
    if (OPEN_PATHS.has(path) || (path === "/metrics" && areMetricsOpen)) return;
    request.owner = keys.ownerOf(headerOf(request, "authorization"));
  });
}

const browserFacts = (request: FastifyRequest): Parameters<typeof checkBrowser>[0] => ({
  host: request.headers.host,
  origin: headerOf(request, "origin"),
  fetchSite: headerOf(request, "sec-fetch-site"),
});

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
    url: "/v1/ws",
    handler: (_request, reply) => {
      reply.headers({ upgrade: "websocket", connection: "upgrade" });
      throw new Fault("upgrade_required");
    },
    wsHandler: (ws, request) => {
      const session = new Session(house, request.owner, ws, request.raw.socket, (closed) =>
        sessions.delete(closed),
      );
      sessions.add(session);
      session.start();
    },
  });
  return sessions;
}
