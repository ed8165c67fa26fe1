/** One WebSocket connection that many runs are read on (PROTOCOL.md, section 3). */
import type { ToldEnding } from "./endings.ts";
import { type ErrorObject, loss, SluiceError } from "./errors.ts";
import { page } from "./page.ts";
import { SILENT_BEATS, type Watch, watch } from "./pause.ts";
import { RECONNECT, type Run } from "./run.ts";
import type { Chunk } from "./types.ts";

/** What the gateway sends; members by type. */
interface Message {
  readonly type: string;
  readonly id: string;
  readonly generation: string;
  readonly seq: number;
  readonly position: number;
  readonly data: Chunk;
  readonly error: ErrorObject;
  readonly heartbeat_ms: number;
  readonly max_message_bytes: number;
  readonly max_subscriptions: number;
  readonly retry_ms: number;
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
  readonly onOpen: () => void;
  /** @param isBlocked a WebSocket was tried, and did not get through */
  readonly onClosed: (socket: Socket, isBlocked: boolean) => void;
}

export interface Socket {
  hasRoomFor(run: Run): boolean;
  /** Starts the run or resumes it once the gateway is ready. @returns when it is over; false where there was no room after all */
  read(run: Run, signal: AbortSignal): Promise<boolean>;
  /** Drops the connection: every run on it goes on elsewhere. */
  fail(error?: Error): void;
}

/** How long opening may take. Milliseconds. */
const OPEN_MS = 8_000;
/** How long a connection without a run is kept: outside of pages it would keep a program from its end. Milliseconds. */
const IDLE_MS = page.document ? 30_000 : 500;
/** Those below 4000 say: reconnect and resume; less these. */
const FINAL_CODES = [1000, 1008, 1009];

let names = 0;

export function openSocket({ url, WebSocket, ticket, onOpen, onClosed }: SocketTerms): Socket {
  /** Those that are read here, or will be once it is ready. */
  const runs = new Set<Run>();
  /** By the client's name and, once accepted, by the generation's. */
  const seats = new Map<string, Seat>();
  /** Runs whose generation another run reads here. */
  const doubles = new WeakSet<Run>();
  /** Resolves when the gateway is ready for messages; rejects where it could not be opened. */
  const { promise: ready, resolve: opened, reject: failed } = Promise.withResolvers<void>();
  let ws: WebSocket | undefined;
  let life: Watch | undefined;
  let idle: ReturnType<typeof setTimeout> | undefined;
  let isReady = false;
  let isClosed = false;
  let retryMs: number | undefined;
  let isDraining = false;
  /** Until the gateway tells, what it has by default. */
  let maxRuns = 64;
  let maxBytes = Number.POSITIVE_INFINITY;

  const socket: Socket = {
    hasRoomFor: (run) =>
      !isClosed &&
      !doubles.has(run) &&
      // Joining what runs is no new work, and what runs there is known nowhere else.
      !(isDraining && !run.generation) &&
      runs.size < maxRuns &&
      ![...runs].some(({ generation }) => generation && generation === run.generation),

    async read(run, signal) {
      runs.add(run);
      clearTimeout(idle);
      try {
        await ready;
        // Only now it is known how many it takes.
        const hasRoom = [...runs].indexOf(run) < maxRuns;
        if (hasRoom && !isClosed && !signal.aborted) await sit(run, signal);
        return hasRoom;
      } finally {
        runs.delete(run);
        if (!runs.size && !isClosed) idle = setTimeout(fail, IDLE_MS);
      }
    },

    fail,
  };

  function sit(run: Run, signal: AbortSignal): Promise<void> {
    const id = `${++names}`;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const leave = (error?: Error): void => {
      signal.removeEventListener("abort", abort);
      seats.delete(id);
      if (seats.get(run.generation as string) === seat) seats.delete(run.generation as string);
      if (error) reject(error);
      else resolve();
    };
    const abort = (): void => {
      if (signal.reason === RECONNECT) fail();
      else say({ type: "unsubscribe", id });
      leave();
    };
    const seat = { run, leave };
    seats.set(id, seat);
    signal.addEventListener("abort", abort);
    begin(id, seat);
    return promise;
  }

  function begin(id: string, { run, leave }: Seat): void {
    const { generation, position } = run;
    const text = JSON.stringify(
      generation
        ? { type: "subscribe", id, generation, starting_after: position }
        : { type: "generate", id, ...run.begin() },
    );
    // A message that is too big would close the connection, and everybody's with it.
    if (new Blob([text]).size > maxBytes) {
      leave(new SluiceError({ code: "body_too_large" }));
      return;
    }
    ws?.send(text);
    // Messages are answered in their order: what was just asked for can be cancelled.
    run.cancelHere = () => say({ type: "cancel", id });
    if (run.isStopping) run.cancelHere();
  }

  function say(message: object): void {
    if (!isClosed) ws?.send(JSON.stringify(message));
  }

  function fail(error: Error = loss("closed here")): void {
    if (isClosed) return;
    isClosed = true;
    life?.stop();
    clearTimeout(idle);
    failed(error);
    if (ws) {
      ws.onmessage = ws.onclose = null;
      ws.close();
    }
    onClosed(socket, !!life && !isReady && !(error instanceof SluiceError));
    for (const { leave } of [...seats.values()]) leave(error);
  }

  async function open(): Promise<void> {
    const told = await ticket();
    if (isClosed) return;
    // Before the opening, which may be forbidden and throw: it was tried.
    life = watch(OPEN_MS, () => fail(loss("silence")));
    ws = new WebSocket(url, ["sluice.v1", ...(told ? [`sluice.ticket.${told}`] : [])]);
    ws.onmessage = ({ data }) => {
      life?.heard();
      try {
        take(JSON.parse(data));
      } catch (error) {
        // No JSON, or events are missing: the connection cannot be trusted.
        fail(error as Error);
      }
    };
    ws.onclose = ({ code }) => fail(closed(code, retryMs));
    // The close follows, and says more.
    ws.onerror = () => {};
  }

  function take(message: Message): void {
    const { type, id, generation, error, seq } = message;
    const about = id ?? generation;
    const seat = seats.get(about);
    if (type === "ready") {
      life?.heard(message.heartbeat_ms * SILENT_BEATS);
      maxBytes = message.max_message_bytes;
      maxRuns = message.max_subscriptions;
      isReady = true;
      onOpen();
      opened();
    } else if (type === "draining") {
      isDraining = true;
      retryMs = message.retry_ms;
    } else if (type === "error") refused(error, about, seat);
    else if (!seat) return;
    else if (type === "accepted") {
      seats.set(generation, seat);
      seat.run.open("websocket", generation);
    } else if (type === "queued") seat.run.wait(message.position);
    else if (type === "event") seat.run.event(seq, message.data);
    else if (type === "end") {
      seat.run.end(seq, message as unknown as ToldEnding);
      seat.leave();
    }
  }

  /** One that names nothing is about the connection. */
  function refused(said: ErrorObject, about: string | undefined, seat: Seat | undefined): void {
    const error = new SluiceError(said, { retryAfterMs: retryMs });
    if (!about) fail(error);
    else if (seat && said.code === "already_subscribed") {
      doubles.add(seat.run);
      seat.leave(loss(said.code));
    } else seat?.leave(error);
  }

  open().catch(fail);
  return socket;
}

function closed(code: number, retryMs: number | undefined): Error {
  const message = `close code ${code}`;
  if (code < 4000 && !FINAL_CODES.includes(code)) return loss(message, retryMs);
  return new SluiceError({ code: "unexpected_answer", message });
}
