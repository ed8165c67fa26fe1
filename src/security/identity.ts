import { Fault } from "../core/errors.ts";
import type { Keys } from "./keys.ts";
import type { Tickets } from "./tickets.ts";

/** Who a request is, and what it may. */
export interface Identity {
  /** The name of the key, or `none`. */
  readonly owner: string;
  /** Came with a ticket for this generation: nothing else is open to it. */
  readonly only?: string | undefined;
}

export interface Shown {
  readonly authorization: string | undefined;
  readonly ticket: string | undefined;
  /** The route, with its parameters unfilled: `/v1/generations/:id`. */
  readonly route: string | undefined;
  /** The request asks for a WebSocket, as the route wants it. */
  readonly isUpgrade: boolean;
  /** The generation that the path names. */
  readonly generation: string | undefined;
}

export const WEBSOCKET_ROUTE = "/v1/ws";
const GENERATION_ROUTES = new Set([
  "/v1/generations/:id",
  "/v1/generations/:id/events",
  "/v1/generations/:id/cancel",
]);

/** A key stands before a ticket, and is known at once. @throws Fault `invalid_api_key`; a ticket's as its promise rejects */
export function identify(shown: Shown, keys: Keys, tickets: Tickets): Identity | Promise<Identity> {
  const { authorization, ticket } = shown;
  if (authorization !== undefined || ticket === undefined) return { owner: keys.ownerOf(authorization) };
  return byTicket(ticket, shown, tickets);
}

/** @throws Fault `invalid_ticket`, `not_allowed` */
async function byTicket(ticket: string, shown: Shown, tickets: Tickets): Promise<Identity> {
  const opened = await tickets.read(ticket);
  const { owner, generation } = opened;
  const isWebSocket = shown.route === WEBSOCKET_ROUTE;
  if (generation === undefined) {
    if (!isWebSocket) throw new Fault("not_allowed");
    if (shown.isUpgrade) tickets.spend(opened);
    return { owner };
  }
  const isIts = GENERATION_ROUTES.has(shown.route ?? "") && generation === shown.generation;
  if (!isWebSocket && !isIts) throw new Fault("not_allowed");
  return { owner, only: generation };
}

const TICKET_PROTOCOL = "sluice.ticket.";

/** The ticket among the offered subprotocols, if there is one. */
export function ticketOf(protocols: string | undefined): string | undefined {
  const offered = (protocols ?? "").split(",").map((protocol) => protocol.trim());
  return offered.find((protocol) => protocol.startsWith(TICKET_PROTOCOL))?.slice(TICKET_PROTOCOL.length);
}
