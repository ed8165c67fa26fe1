/** What every request passes first: connections, browsers, identity. */
import type { Socket } from "node:net";
import cors from "@fastify/cors";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { Fault } from "../core/errors.ts";
import { type BrowserRules, checkBrowser } from "../security/browsers.ts";
import { type Identity, identify, ticketOf, WEBSOCKET_ROUTE } from "../security/identity.ts";
import { type Keys, NO_OWNER } from "../security/keys.ts";
import type { Tickets } from "../security/tickets.ts";
import { dropIfNotTaken, faultOf } from "./faults.ts";
import { type House, headerOf } from "./house.ts";
import { HEALTH_PATHS, OPEN_PATHS } from "./operations.ts";

export interface GuardOptions {
  readonly house: House;
  readonly keys: Keys;
  readonly tickets: Tickets;
  readonly browsers: BrowserRules;
  /** `/metrics` needs no key. */
  readonly areMetricsOpen: boolean;
  /** Sockets at once; those beyond it are told so. */
  readonly maxConnections: number;
}

/** Beyond the limit so many more sockets are accepted, to be told; past that, the system refuses. */
const TOLD_CONNECTIONS = 256;
const EXPOSED_HEADERS = [
  ...["x-request-id", "x-generation-id", "x-sluice-upstream", "x-sluice-attempts", "x-upstream-request-id"],
  ...["retry-after", "x-should-retry", "x-sluice-error", "location", "openai-processing-ms"],
  ...["limit", "remaining", "reset"].flatMap((what) => [
    `x-ratelimit-${what}-requests`,
    `x-ratelimit-${what}-tokens`,
  ]),
];
/** How long a browser may keep a preflight's answer. Seconds. */
const PREFLIGHT_S = 600;

/** Cross-origin answers for the pages that may call (Fetch standard, section 3.3); without such origins, none at all. */
async function allowOrigins(app: FastifyInstance, origins: readonly string[]): Promise<void> {
  if (origins.length === 0) return;
  await app.register(cors, {
    origin: origins.includes("*") ? "*" : [...origins],
    methods: ["GET", "POST"],
    // What a page asks to send is granted as asked: official SDKs add many `x-stainless-*` headers.
    exposedHeaders: EXPOSED_HEADERS,
    maxAge: PREFLIGHT_S,
  });
}

export async function guard(app: FastifyInstance, options: GuardOptions): Promise<void> {
  const crowd = limitConnections(app, options.maxConnections);
  app.decorateRequest("owner", NO_OWNER);
  app.decorateRequest("only", undefined);
  app.decorateRequest("refusal", undefined);
  // Foreign pages first: not even a preflight of theirs is answered.
  // Hooks that have nothing to wait for call back: a promise for each would hold every request up.
  app.addHook("onRequest", (request, reply, done) => {
    reply.headers({ "x-request-id": request.id, "x-content-type-options": "nosniff" });
    if (options.house.gateway.isDraining || crowd.has(request.raw.socket))
      reply.header("connection", "close");
    if (request.headers.host === undefined && request.raw.httpVersion === "1.1")
      throw new Fault("invalid_request", { message: "The Host header is missing." });
    if (!HEALTH_PATHS.has(pathOf(request))) checkBrowser(browserFacts(request), options.browsers);
    done();
  });
  await allowOrigins(app, options.browsers.corsOrigins);
  const identityOf = (request: FastifyRequest): Identity | Promise<Identity> | Error => {
    try {
      if (crowd.has(request.raw.socket)) throw new Fault("too_many_connections", { retryAfterS: 1 });
      return identify(shownBy(request), options.keys, options.tickets);
    } catch (thrown) {
      return thrown as Error;
    }
  };
  app.addHook("onRequest", (request, _reply, done) => {
    const path = pathOf(request);
    if (OPEN_PATHS.has(path) || (path === "/metrics" && options.areMetricsOpen)) return done();
    const take = (identity: Identity): void => {
      Object.assign(request, identity);
      done();
    };
    const refuse = (thrown: Error): void => {
      const isToldLater = isBrowserSocket(request);
      if (isToldLater) request.refusal = faultOf(thrown);
      done(isToldLater ? undefined : thrown);
    };
    const identity = identityOf(request);
    if (identity instanceof Promise) identity.then(take, refuse);
    else if (identity instanceof Error) refuse(identity);
    else take(identity);
  });
  app.addHook("onSend", (request, reply, payload, done) => {
    // An address may hold a ticket, and an answer may be one.
    if (!reply.hasHeader("cache-control")) reply.header("cache-control", "no-store");
    dropIfNotTaken(reply.raw, request.raw.socket, options.house.limits.writeStallMs);
    done(null, payload);
  });
}

const pathOf = ({ url }: FastifyRequest): string => url.split("?", 1)[0] ?? "/";

/** A browser learns nothing of a refused upgrade; one of an allowed origin is upgraded and told then. */
const isBrowserSocket = (request: FastifyRequest): boolean =>
  request.ws && request.routeOptions.url === WEBSOCKET_ROUTE && request.headers.origin !== undefined;

function shownBy(request: FastifyRequest): Parameters<typeof identify>[0] {
  const { ticket } = request.query as Record<string, unknown>;
  const isShown = typeof ticket === "string" && ticket !== "";
  return {
    authorization: headerOf(request, "authorization"),
    ticket: isShown ? ticket : ticketOf(headerOf(request, "sec-websocket-protocol")),
    route: request.routeOptions.url,
    isUpgrade: request.ws,
    generation: (request.params as { id?: string }).id,
  };
}

const browserFacts = (request: FastifyRequest): Parameters<typeof checkBrowser>[0] => ({
  host: request.headers.host,
  origin: headerOf(request, "origin"),
  fetchSite: headerOf(request, "sec-fetch-site"),
  isPage: OPEN_PATHS.has(pathOf(request)),
});

/** The sockets beyond the limit: whatever they ask is refused, and they are closed. */
function limitConnections(app: FastifyInstance, maxConnections: number): WeakSet<Socket> {
  const crowd = new WeakSet<Socket>();
  let open = 0;
  app.server.maxConnections = maxConnections + TOLD_CONNECTIONS;
  app.server.on("connection", (socket) => {
    if (++open > maxConnections) crowd.add(socket);
    socket.once("close", () => open--);
  });
  return crowd;
}
