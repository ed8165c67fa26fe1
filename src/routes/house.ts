import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from "fastify";
import { Fault } from "../core/errors.ts";
import type { Gateway, Started } from "../core/gateway.ts";
import type { DisconnectPolicy, Origin, Transport } from "../core/ports.ts";
import type { DeliveryLimits } from "../transport/deliver.ts";
import type { Catalog } from "../upstream/catalog.ts";
import { type Additions, readStart } from "./request.ts";

declare module "fastify" {
  interface FastifyRequest {
    /** The name of the key that the request came with, or `none`. */
    owner: string;
    /** The one generation that its ticket opens. */
    only: string | undefined;
    /** Why a browser's WebSocket is to be refused: told after the upgrade, since the browser sees nothing before. */
    refusal: Fault | undefined;
  }
  interface FastifyContextConfig {
    /** A request here creates a generation: its refusal is counted, under this transport. */
    creates?: Transport;
  }
}

/** What the routes share. */
export interface House {
  readonly gateway: Gateway;
  readonly catalog: Catalog;
  readonly limits: HouseLimits;
  /** What the gateway may add to request bodies. */
  readonly additions: Additions;
  /** The headers that place a request in a trace, in lower case. */
  readonly traceFields: readonly string[];
  /** The path under which another server has the gateway: what its answers' addresses begin with. */
  readonly base: string;
}

export interface HouseLimits extends DeliveryLimits {
  readonly earlyHeadersMs: number;
  readonly maxBodyBytes: number;
  /** Generations that run, and that wait, at once. */
  readonly maxConcurrency: number;
  readonly maxQueue: number;
}

export type Answerer = (request: FastifyRequest, reply: FastifyReply) => unknown;
type Method = "GET" | "POST";

const METHODS: readonly HTTPMethods[] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/** Mounts a path: the methods it takes, and a clear 405 for the others. */
export function mount(
  app: FastifyInstance,
  path: string,
  answerers: Partial<Record<Method, Answerer>>,
  creates?: Transport,
): void {
  const taken = Object.keys(answerers) as Method[];
  for (const method of taken) {
    const handler = answerers[method] as Answerer;
    app.route({
      method,
      url: path,
      handler,
      ...(creates === undefined ? {} : { config: { creates } }),
    });
  }
  refuseOthers(app, path, taken);
}

/** A clear 405 for the methods that a path does not take. */
export function refuseOthers(app: FastifyInstance, path: string, taken: readonly HTTPMethods[]): void {
  app.route({
    method: METHODS.filter((method) => !taken.includes(method)),
    url: path,
    handler: (_request, reply) => {
      reply.header("allow", taken.join(", "));
      throw new Fault("method_not_allowed", { message: `This route takes ${taken.join(" and ")}.` });
    },
  });
}

/** The body as it came. */
export const bodyOf = (request: FastifyRequest): Buffer | undefined => request.body as Buffer | undefined;

export const headerOf = (request: FastifyRequest, name: string): string | undefined => {
  const value = request.headers[name];
  return Array.isArray(value) ? value.join(", ") : value;
};

/** Where a request came from, for log lines and traces. */
export function originOf({ traceFields }: House, request: FastifyRequest): Origin {
  let trace: Record<string, string> | undefined;
  for (const field of traceFields) {
    const value = headerOf(request, field);
    if (value !== undefined) trace = { ...trace, [field]: value };
  }
  return trace === undefined ? { requestId: request.id } : { requestId: request.id, trace };
}

export interface StartTerms {
  readonly endpoint: string;
  readonly body: Uint8Array | undefined;
  readonly impliesStream: boolean;
  readonly defaultPolicy: DisconnectPolicy;
  readonly policy?: unknown;
  readonly transport: (isStream: boolean) => Transport;
}

/** Starts what an HTTP request asks for. @throws Fault */
export async function startOverHttp(
  house: House,
  request: FastifyRequest,
  terms: StartTerms,
): Promise<Started> {
  const start = await readStart(
    terms.body,
    {
      ...terms,
      owner: request.owner,
      origin: originOf(house, request),
      policy: headerOf(request, "x-sluice-on-disconnect") ?? terms.policy,
      idempotencyKey: headerOf(request, "idempotency-key"),
    },
    house.additions,
  );
  return house.gateway.start(start);
}
