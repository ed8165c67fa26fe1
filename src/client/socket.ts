/** One WebSocket connection that many runs are read on (PROTOCOL.md, section 3). */
import { type ErrorObject, Loss, SluiceError } from "./errors.ts";
import { isPage } from "./page.ts";
import { Watch } from "./pause.ts";
import { RECONNECT, type Run, type ToldEnding } from "./run.ts";
import type { Chunk } from "./types.ts";

/** What the gateway sends; members by type. */
interface Message {
  readonly type: string;
  readonly id?: string;
  readonly generation?: string;
  readonly seq?: number;
  readonly position?: number;
  readonly data?: Chunk;
  readonly error?: ErrorObject;
  readonly heartbeat_ms?: number;
  readonly max_message_bytes?: number;
  readonly max_subscriptions?: number;
  readonly retry_ms?: number;
}

/** A run that is read here, under a name of this client's. */
interface Seat {
  readonly run: Run;
  /** Ends the reading: well, or by an error. */
  readonly leave: (error?: Error) => void;
}

export interface SocketTerms {
  readonly url: string;
  readonly WebSocket: typeof globalThis.WebSocket;
  /** One ticket for one connection; undefined where none is needed. */
  readonly ticket: () => Promise<string | undefined>;
}

/** How long opening may take. Milliseconds. */
const OPEN_MS = 8_000;
/** How long a connection without a run is kept: outside of pages it would keep a program from its end. Milliseconds. */
const IDLE_MS = isPage ? 30_000 : 500;
/** Heartbeats of silence after which a connection is dead. */
export const SILENT_BEATS = 2.5;
/** Those below 4000 say: reconnect and resume; less these. */
const FINAL_CODES = [1000, 1008, 1009];

let names = 0;

export class Socket {
  /** Resolves when the gateway is ready for messages; rejects where it could not be opened. */
  readonly ready: Promise<void>;
  /** Those that are read here, or will be once it is ready. */
  readonly runs = new Set<Run>();
  /** Until the gateway tells, what it has by default. */
  maxRuns = 64;
  /** It came to opening a WebSocket. */
  wasTried = false;
  readonly #terms: SocketTerms;
  readonly #onClosed: () => void;
  readonly #opened = Promise.withResolvers<void>();
  readonly #seats = new Map<string, Seat>();
  readonly #byGeneration = new Map<string, Seat>();
  /** Runs whose generation another run reads here. */
  readonly #doubles = new WeakSet<Run>();
  #ws: WebSocket | undefined;
  #watch: Watch | undefined;
  #idle: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;
  #isDraining = false;
  #retryMs: number | undefined;
  #maxBytes = Number.POSITIVE_INFINITY;

  constructor(terms: SocketTerms, onClosed: () => void) {
    this.#terms = terms;
    this.#onClosed = onClosed;
    this.ready = this.#opened.promise;
    this.#open().catch((error: Error) => this.fail(error));
  }

  hasRoomFor(run: Run): boolean {
    if (this.#isClosed || this.#doubles.has(run)) return false;
    // Joining what runs is no new work, and what runs there is known nowhere else.
    if (this.#isDraining && run.generation === undefined) return false;
    const isDouble = ({ generation }: Run): boolean =>
      generation !== undefined && generation === run.generation;
    return this.runs.size < this.maxRuns && ![...this.runs].some(isDouble);
  }

  /** Starts the run or resumes it, and resolves once it is over. */
  read(run: Run, signal: AbortSignal): Promise<void> {
    const name = `${++names}`;
    return new Promise((resolve, reject) => {
      const leave = (error?: Error): void => {
        signal.removeEventListener("abort", abort);
        this.#seats.delete(name);
        const { generation = "" } = run;
        if (this.#byGeneration.get(generation) === seat) this.#byGeneration.delete(generation);
        if (error === undefined) resolve();
        else reject(error);
      };
      const abort = (): void => {
        if (signal.reason === RECONNECT) this.fail(new Loss("dropped"));
        else this.#say({ type: "unsubscribe", id: name });
        leave(new Loss("left"));
      };
      const seat = { run, leave };
      if (this.#isClosed || signal.aborted) {
        reject(new Loss("left before it began"));
        return;
      }
      this.#seats.set(name, seat);
      signal.addEventListener("abort", abort);
      this.#begin(name, seat);
    });
  }

  /** The run is read here no more. */
  released(run: Run): void {
    this.runs.delete(run);
    clearTimeout(this.#idle);
    if (this.runs.size === 0 && !this.#isClosed)
      this.#idle = setTimeout(() => this.fail(new Loss("idle")), IDLE_MS);
  }

  /** Drops the connection: every run on it goes on elsewhere. */
  fail(error: Error): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#watch?.stop();
    clearTimeout(this.#idle);
    this.#opened.reject(error);
    if (this.#ws !== undefined) {
      this.#ws.onmessage = this.#ws.onclose = null;
      this.#ws.close();
    }
    this.#onClosed();
    for (const { leave } of [...this.#seats.values()]) leave(error);
  }

  async #open(): Promise<void> {
    const ticket = await this.#terms.ticket();
    if (this.#isClosed) return;
    this.wasTried = true;
    const { url, WebSocket } = this.#terms;
    const ws = new WebSocket(url, [
      "sluice.v1",
      ...(ticket === undefined ? [] : [`sluice.ticket.${ticket}`]),
    ]);
    this.#ws = ws;
    this.#watch = new Watch(OPEN_MS, () => this.fail(new Loss("nothing was heard for too long")));
    ws.onmessage = ({ data }) => this.#received(data);
    ws.onclose = ({ code }) => this.fail(closed(code, this.#retryMs));
    // The close follows, and says more.
    ws.onerror = () => {};
  }

  #begin(name: string, { run, leave }: Seat): void {
    const { start, generation, position } = run;
    const text = JSON.stringify(
      generation === undefined
        ? {
            type: "generate",
            id: name,
            request: start?.request,
            on_disconnect: start?.onDisconnect,
            idempotency_key: start?.key,
          }
        : { type: "subscribe", id: name, generation, starting_after: position },
    );
    // A message that is too big would close the connection, and everybody's with it.
    if (new TextEncoder().encode(text).length > this.#maxBytes) {
      leave(new SluiceError({ code: "body_too_large" }));
      return;
    }
    run.mayBeStarted = true;
    this.#ws?.send(text);
    // Messages are answered in their order: what was just asked for can be cancelled.
    run.cancelHere = () => this.#say({ type: "cancel", id: name });
    if (run.isStopping) run.cancelHere();
  }

  #say(message: object): void {
    if (!this.#isClosed) this.#ws?.send(JSON.stringify(message));
  }

  #received(data: unknown): void {
    this.#watch?.heard();
    try {
      this.#take(JSON.parse(data as string) as Message);
    } catch (error) {
      // No JSON, or events are missing: the connection cannot be trusted.
      this.fail(error as Error);
    }
  }

  #take(message: Message): void {
    const { type, id, generation, error } = message;
    if (type === "ready") this.#becameReady(message);
    else if (type === "draining") {
      this.#isDraining = true;
      this.#retryMs = message.retry_ms;
    } else if (type === "error") this.#refused(error as ErrorObject, id ?? generation);
    else {
      const seat = this.#seats.get(id ?? "") ?? this.#byGeneration.get(generation ?? "");
      if (seat !== undefined) this.#tell(seat, message);
    }
  }

  #tell(seat: Seat, message: Message): void {
    const { type, generation = "", seq = 0, position, data } = message;
    const { run, leave } = seat;
    if (type === "accepted") {
      this.#byGeneration.set(generation, seat);
      run.accept(generation);
      run.open("websocket");
    } else if (type === "queued") run.wait(position);
    else if (type === "event") run.event(seq, data as Chunk);
    else if (type === "end") {
      run.end(message as unknown as ToldEnding, seq);
      leave();
    }
  }

  #becameReady({ heartbeat_ms: beat, max_message_bytes: bytes, max_subscriptions: runs }: Message): void {
    if (beat !== undefined) this.#watch?.heard(beat * SILENT_BEATS);
    this.#maxBytes = bytes ?? this.#maxBytes;
    this.maxRuns = Math.max(1, runs ?? this.maxRuns);
    this.#opened.resolve();
  }

  /** One that names nothing is about the connection. */
  #refused(said: ErrorObject, about: string | undefined): void {
    const error = new SluiceError(said, this.#retryMs === undefined ? {} : { retryAfterMs: this.#retryMs });
    const seat = this.#seats.get(about ?? "");
    if (about === undefined) this.fail(error);
    else if (seat !== undefined && said.code === "already_subscribed") {
      this.#doubles.add(seat.run);
      seat.leave(new Loss("another reads it on this connection"));
    } else seat?.leave(error);
  }
}

function closed(code: number, retryMs: number | undefined): Error {
  if (code < 4000 && !FINAL_CODES.includes(code)) return new Loss(`close code ${code}`, retryMs);
  const message = `The gateway closed the WebSocket with code ${code}.`;
  if (code === 4429) return new SluiceError({ code: "too_many_connections", message });
  return new SluiceError({ code: code === 4401 ? "invalid_ticket" : "unexpected_answer", message });
}
