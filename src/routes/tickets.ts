import type { FastifyInstance, FastifyRequest } from "fastify";
import { Fault } from "../core/errors.ts";
import type { Tickets } from "../security/tickets.ts";
import { bodyOf, type House, mount } from "./house.ts";
import { parseObject } from "./request.ts";

export function ticketRoutes(app: FastifyInstance, house: House, tickets: Tickets): void {
  mount(app, "/v1/tickets", { POST: (request) => issue(house, tickets, request) });
}

async function issue(
  house: House,
  tickets: Tickets,
  request: FastifyRequest,
): Promise<Record<string, unknown>> {
  const body = bodyOf(request);
  const { ttl_s: ttlS, generation } = body === undefined ? {} : parseObject(body);
  if (ttlS !== undefined && typeof ttlS !== "number") {
    throw new Fault("invalid_request", { message: "ttl_s must be a number of seconds.", param: "ttl_s" });
  }
  if (generation !== undefined && typeof generation !== "string") {
    throw new Fault("invalid_request", { message: "generation must be the id of one.", param: "generation" });
  }
  const { owner } = request;
  if (generation !== undefined) await house.gateway.find(generation, owner);
  const { ticket, expiresAt } = await tickets.issue({
    owner,
    ...(generation === undefined ? {} : { generation }),
    ...(ttlS === undefined ? {} : { ttlS }),
  });
  return { ticket, expires_at: expiresAt };
}
