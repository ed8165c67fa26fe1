/** What the client takes and gives. Names on the wire keep the wire's spelling; times are milliseconds. */
import type { SluiceError } from "./errors.ts";

export type Transport = "sse" | "websocket";

/** A chat completions body; `stream` is implied. */
export interface ChatRequest {
  readonly model?: string;
  readonly messages?: readonly unknown[];
  readonly [member: string]: unknown;
}

/** The upstream's JSON of one event, as far as most programs look into it. */
export interface Chunk {
  readonly choices?: readonly {
    readonly index?: number;
    readonly delta?: { readonly content?: unknown; readonly [member: string]: unknown };
    readonly text?: string;
    readonly finish_reason?: string | null;
  }[];
  readonly [member: string]: unknown;
}

export interface GenerationEvent {
  /** 1, 2, 3 ... without a gap (PROTOCOL.md, section 1.3). */
  readonly seq: number;
  readonly data: Chunk;
}

/** Ended well: `completed`, `incomplete`. `left` is the client's own: it stopped reading, and does not know how it ended. */
export type Status = "completed" | "incomplete" | "failed" | "cancelled" | "left";

export interface Ending {
  readonly status: Status;
  /** The upstream's own object. */
  readonly usage?: Readonly<Record<string, unknown>>;
  /** There unless it ended well or was left. */
  readonly error?: SluiceError;
  /** The gateway's figures (PROTOCOL.md, section 1.8). */
  readonly timing?: Readonly<Record<string, number>>;
}

/** A generation as one reader follows it. Reading begins at once; the events are kept as long as this object is. */
export interface Generation extends AsyncIterable<GenerationEvent> {
  /** The id, once the gateway has accepted it. */
  readonly generation: string | undefined;
  /** Resolves with the id; rejects with the refusal. */
  readonly accepted: Promise<string>;
  /** The last seq taken. */
  readonly position: number;
  /** The place in the gateway's queue, 1 being next; undefined while it does not wait. */
  readonly queue: number | undefined;
  /** As seen from here: from the call to the first event, and to the ending or to now. */
  readonly timing: { readonly ttft_ms?: number; readonly duration_ms: number };
  /** How often a connection was lost and made again. */
  readonly reconnects: number;
  /** The transport in use, while connected. */
  readonly transport: Transport | undefined;
  /** The text of the first choice, piece by piece. Ends and throws as the events do. */
  readonly textStream: AsyncIterable<string>;
  /** The one ending. Never rejects. */
  readonly ended: Promise<Ending>;
  /** The whole text of the first choice. @throws SluiceError where it did not end well */
  text(): Promise<string>;
  /** Stops the generation for everyone; resolves with the ending. */
  cancel(): Promise<Ending>;
  /** Stops reading, and nothing else: the generation's disconnect policy rules from here on. */
  leave(): void;
  /** Drops the connection in use and resumes at once, on the other transport where one is named. */
  reconnect(transport?: Transport): void;
}

export interface Connection {
  /** Undefined while there is none. */
  readonly transport: Transport | undefined;
  /** The seq after which it reads, or will read. */
  readonly after: number;
  /** Why the last one was lost or refused. */
  readonly error?: Error;
}

export interface ReadOptions {
  /** Default: the client's. */
  readonly transport?: "auto" | Transport;
  /** Aborting it stops reading at once and cancels the generation; `leave()` only stops reading. */
  readonly signal?: AbortSignal;
  /** Called when the place in the queue changes, and with undefined when it waits no longer. */
  readonly onQueue?: (position: number | undefined) => void;
  /** Called when a connection is there, and when it is lost. */
  readonly onConnection?: (connection: Connection) => void;
}

export interface GenerateOptions extends ReadOptions {
  /** What happens when the last reader vanishes (PROTOCOL.md, section 5.2). Default `grace`. */
  readonly onDisconnect?: "cancel" | "grace" | "continue";
  /** 1 to 255 characters; default one of its own, so that a lost answer starts no second generation. */
  readonly idempotencyKey?: string;
}

export interface FollowOptions extends ReadOptions {
  /** Start after this seq. Default: that of a stored position, else 0. */
  readonly after?: number;
}

/** A generation that was being read when the page went away. */
export interface Stored {
  readonly generation: string;
  readonly position: number;
}

/** The part of the Web Storage interface that is used: `localStorage`, `sessionStorage`, or an object of one's own. */
export interface PositionStorage {
  readonly length: number;
  key(index: number): string | null;
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

export interface ClientOptions {
  /** The gateway's address, with a path if it has one. Default: the page's own origin. */
  readonly url?: string;
  /** Sent as `Authorization: Bearer`. Never in a page that others load: use `ticket` there. */
  readonly apiKey?: string;
  /**
   * Asks the application's own server for a ticket (PROTOCOL.md, section 7.3): for that generation, or without one for a
   * WebSocket. Called for every connection.
   */
  readonly ticket?: (generation?: string) => Promise<string>;
  readonly fetch?: typeof globalThis.fetch;
  readonly WebSocket?: typeof globalThis.WebSocket;
  /** Default `auto`: WebSocket, and SSE where that cannot be opened. */
  readonly transport?: "auto" | Transport;
  /** Where positions are kept over a reload; null for nowhere. Default: `sessionStorage` in pages, else nowhere. */
  readonly storage?: PositionStorage | null;
  /** How often a refusal that says "later" (429, 503) is answered by another try to start a generation. Default 5. */
  readonly maxRetries?: number;
  /** How many connections in a row may fail before it is given up as `connection_lost`. Default 20: about a minute and a half. */
  readonly maxReconnects?: number;
  /** The gateway's `SLUICE_HEARTBEAT_MS`; after 2.5 times of silence a connection counts as dead. Default 15,000. */
  readonly heartbeatMs?: number;
}

export interface Client {
  /** Starts a generation and reads it. */
  generate(request: ChatRequest, options?: GenerateOptions): Generation;
  /** Reads one that is there: from the start, after a seq, or after a stored position. */
  follow(generation: string | Stored, options?: FollowOptions): Generation;
  /** What the storage holds: generations whose ending this client has not seen. */
  stored(): Stored[];
  /** Leaves everything that is being read, and closes the sockets. */
  close(): void;
}
