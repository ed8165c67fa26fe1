/** The ways in which a generation can be asked for. */
import type { Observation } from "./observation.ts";

export const TRANSPORTS = ["sse", "websocket", "events"] as const;
export type Transport = (typeof TRANSPORTS)[number];

/** A body for `/v1/chat/completions`. */
export type RequestBody = Readonly<Record<string, unknown>>;

export interface Wire {
  /**
   * Asks for one generation and notes what arrives. Resolves when it ended well.
   * @throws {RequestFault} for every other end; the signal's reason where that stopped it
   */
  generate(body: RequestBody, seen: Observation, signal: AbortSignal): Promise<void>;
  /** Cuts what is still open. */
  close(): Promise<void>;
}

export interface Target {
  /** Up to and with `/v1`, without a slash at the end. */
  readonly baseUrl: string;
  /** Sent with every request. */
  readonly headers: Readonly<Record<string, string>>;
}
