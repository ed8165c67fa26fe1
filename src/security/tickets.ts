/** Tickets: what a browser shows in place of a key, since it cannot set headers (PROTOCOL.md, section 7). JWTs (RFC 7519). */
import { createHmac, randomBytes, randomUUID } from "node:crypto";
import { jwtVerify, SignJWT } from "jose";
import { Fault } from "../core/errors.ts";
import type { Keys } from "./keys.ts";

export interface TicketRequest {
  readonly owner: string;
  /** The one generation that it opens; without, it opens one WebSocket, once. */
  readonly generation?: string;
  /** Seconds; the default of its kind where nothing is said. */
  readonly ttlS?: number;
}

export interface Ticket {
  readonly ticket: string;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** What a good ticket says. */
export interface Opened {
  readonly owner: string;
  readonly generation?: string;
  readonly id: string;
  /** Unix seconds. */
  readonly expiresAt: number;
}

const GENERATION_TTL_S = 3600;
const WEBSOCKET_TTL_S = 60;
const WEBSOCKET_MAX_TTL_S = 300;
const AUDIENCE = "sluice.ticket";
const SECRET_BYTES = 32;

export class Tickets {
  readonly #keys: Keys;
  readonly #secret: Buffer;
  /** Tickets for a WebSocket that have been used, until they expire. Unix seconds by id. */
  readonly #used = new Map<string, number>();

  /** @param secret what instances that honour each other's tickets share; made here where there is none */
  constructor(keys: Keys, secret: string | undefined) {
    this.#keys = keys;
    this.#secret =
      secret === undefined
        ? randomBytes(SECRET_BYTES)
        : createHmac("sha256", AUDIENCE).update(secret).digest();
  }

  /** @throws Fault `invalid_request` for a time to live that its kind does not have */
  async issue({ owner, generation, ttlS }: TicketRequest): Promise<Ticket> {
    const most = generation === undefined ? WEBSOCKET_MAX_TTL_S : GENERATION_TTL_S;
    const seconds = ttlS ?? (generation === undefined ? WEBSOCKET_TTL_S : GENERATION_TTL_S);
    if (!Number.isInteger(seconds) || seconds < 1 || seconds > most) {
      throw new Fault("invalid_request", {
        message: `ttl_s must be a whole number from 1 to ${most}.`,
        param: "ttl_s",
      });
    }
    const expiresAt = Math.floor(Date.now() / 1000) + seconds;
    const ticket = await new SignJWT({
      key: this.#mark(owner),
      ...(generation === undefined ? {} : { generation }),
    })
      .setProtectedHeader({ alg: "HS256" })
      .setSubject(owner)
      .setAudience(AUDIENCE)
      .setJti(randomUUID())
      .setExpirationTime(expiresAt)
      .sign(this.#secret);
    return { ticket, expiresAt };
  }

  /**
   * What a ticket opens.
   * @throws Fault `invalid_ticket` where it is forged or expired, or its key is gone
   */
  async read(ticket: string): Promise<Opened> {
    const { sub: owner, jti: id, exp: expiresAt, generation, key } = await this.#verified(ticket);
    if (owner === undefined || id === undefined || expiresAt === undefined || key !== this.#mark(owner)) {
      throw new Fault("invalid_ticket");
    }
    return { owner, id, expiresAt, ...(typeof generation === "string" ? { generation } : {}) };
  }

  /** Uses a ticket for a WebSocket up. @throws Fault `invalid_ticket` where it was used before */
  spend({ id, expiresAt }: Opened): void {
    const now = Math.floor(Date.now() / 1000);
    for (const [used, expired] of this.#used) if (expired < now) this.#used.delete(used);
    if (this.#used.has(id)) throw new Fault("invalid_ticket");
    this.#used.set(id, expiresAt);
  }

  async #verified(ticket: string) {
    try {
      const options = { audience: AUDIENCE, algorithms: ["HS256"] };
      return (await jwtVerify(ticket, this.#secret, options)).payload;
    } catch (thrown) {
      throw new Fault("invalid_ticket", { cause: thrown });
    }
  }

  /** Ties a ticket to the key itself, so that it dies with the key and not with the key's name. */
  #mark(owner: string): string {
    return createHmac("sha256", this.#secret)
      .update(this.#keys.digestOf(owner) ?? "")
      .digest("base64url");
  }
}
