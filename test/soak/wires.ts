/** The soak's readers: as little as tells what came, since hundreds of them share one processor with the gateway. */
import http from "node:http";
import { createParser, type EventSourceMessage } from "eventsource-parser";
import { WebSocket } from "ws";
import type { Told } from "./oracle.ts";

export interface Taker {
  event(seq: number | undefined, payload: string): void;
  /** It is over: with its ending, or broken off without one. */
  over(told: Told | undefined): void;
  /** The generation's id, once it is known. */
  named(id: string): void;
}

export interface Wire {
  /** Vanishes. */
  leave(): void;
  pause(): void;
  resume(): void;
}

export interface SseAsk {
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: object;
}

interface ErrorBody {
  readonly error?: { readonly code: string | null; readonly type: string };
}

export const codeIn = (text: string): string => {
  const { error } = JSON.parse(text) as ErrorBody;
  return error?.code ?? error?.type ?? "none";
};

/** The stock wire and `/events` alike: they differ in what the events are called. */
export function openSse({ url, headers = {}, body }: SseAsk, taker: Taker): Wire {
  let told: Told | undefined;
  let isOver = false;
  const over = (): void => {
    if (isOver) return;
    isOver = true;
    taker.over(told);
  };
  const parser = createParser({
    onEvent: (event) => {
      if (told !== undefined) told = { status: `${told.status}, and more after it` };
      else told = take(event, taker);
    },
  });
  const json = body === undefined ? {} : { "content-type": "application/json" };
  const request = http.request(url, {
    method: body === undefined ? "GET" : "POST",
    agent: false,
    headers: { ...json, ...headers },
  });
  request.on("error", over);
  request.on("response", (response) => {
    response.setEncoding("utf8");
    const id = response.headers["x-generation-id"];
    if (typeof id === "string") taker.named(id);
    let refusal = "";
    const isStream = response.statusCode === 200;
    response.on("data", (text: string) => {
      if (isStream) parser.feed(text);
      else refusal += text;
    });
    response.on("error", over);
    response.on("close", () => {
      if (!isStream && response.complete) told = { status: "failed", code: refusal && codeIn(refusal) };
      if (!response.complete) told = undefined;
      over();
    });
  });
  request.end(body === undefined ? undefined : JSON.stringify(body));
  return {
    leave: () => {
      isOver = true;
      request.destroy();
    },
    pause: () => void request.socket?.pause(),
    resume: () => void request.socket?.resume(),
  };
}

/** @returns the ending, if it is one */
function take({ id, event, data }: EventSourceMessage, taker: Taker): Told | undefined {
  const seq = id === undefined ? undefined : Number(id);
  if (event === "end") {
    const { status, error } = JSON.parse(data) as { status: string } & ErrorBody;
    return { status, code: error === undefined ? undefined : (error.code ?? error.type), seq };
  }
  if (data === "[DONE]") return { status: "completed" };
  if (data.startsWith(`{"error"`)) return { status: "failed", code: codeIn(data) };
  taker.event(seq, data);
  return undefined;
}

const DATA = ',"data":';

interface Message {
  readonly type: string;
  readonly id?: string;
  readonly generation?: string;
  readonly seq?: number;
  readonly status?: string;
  readonly error?: { readonly code: string };
}

/** One WebSocket with many generations on it. */
export class Line {
  readonly ws: WebSocket;
  readonly ready: Promise<void>;
  /** Resolves with the close code. */
  readonly closed: Promise<number>;
  isOpen = true;
  /** Vanished, by the soak's own will. */
  isTakenDown = false;
  /** By the client's own name, until it is accepted. */
  readonly #asked = new Map<string, Taker>();
  readonly #reading = new Map<string, Taker>();

  constructor(wsUrl: string) {
    this.ws = new WebSocket(`${wsUrl}/v1/ws`, ["sluice.v1"]);
    this.closed = new Promise((resolve) => {
      this.ws.on("close", resolve);
    });
    this.ready = new Promise((resolve) => {
      this.ws.once("message", () => resolve());
      this.ws.on("close", () => {
        this.isOpen = false;
        resolve();
        const takers = [...this.#asked.values(), ...this.#reading.values()];
        this.#asked.clear();
        this.#reading.clear();
        for (const taker of takers) taker.over(undefined);
      });
    });
    this.ws.on("error", () => {});
    this.ws.on("message", (data) => this.#received(data.toString()));
  }

  takeDown(): void {
    this.isTakenDown = true;
    this.ws.terminate();
  }

  /** @param message a `generate` or a `subscribe`, by that name */
  ask(name: string, message: object, taker: Taker): Wire {
    if (!this.isOpen) {
      queueMicrotask(() => taker.over(undefined));
      return IDLE;
    }
    let generation: string | undefined;
    this.#asked.set(name, { ...bound(taker), named: (id) => taker.named((generation = id)) });
    this.ws.send(JSON.stringify({ ...message, id: name }));
    return {
      leave: () => {
        if (generation === undefined || !this.#reading.delete(generation)) return;
        this.send({ type: "unsubscribe", id: name });
      },
      pause: () => this.ws.pause(),
      resume: () => this.ws.resume(),
    };
  }

  send(message: object): void {
    if (this.isOpen) this.ws.send(JSON.stringify(message));
  }

  #received(text: string): void {
    const message = JSON.parse(text) as Message;
    const { type, id = "", generation = "", seq } = message;
    if (type === "event") {
      const data = text.slice(text.indexOf(DATA) + DATA.length, -1);
      this.#reading.get(generation)?.event(seq, data);
    } else if (type === "accepted") this.#accepted(id, generation);
    else if (type === "end") {
      const taker = this.#reading.get(generation);
      this.#reading.delete(generation);
      taker?.over({ status: message.status ?? "none", code: message.error?.code, seq });
    } else if (type === "error") {
      const taker = this.#asked.get(id);
      this.#asked.delete(id);
      taker?.over({ status: "failed", code: message.error?.code });
    }
  }

  #accepted(id: string, generation: string): void {
    const taker = this.#asked.get(id);
    this.#asked.delete(id);
    if (taker === undefined) return;
    this.#reading.set(generation, taker);
    taker.named(generation);
  }
}

const IDLE: Wire = { leave: () => {}, pause: () => {}, resume: () => {} };

const bound = (taker: Taker): Omit<Taker, "named"> => ({
  event: (seq, payload) => taker.event(seq, payload),
  over: (told) => taker.over(told),
});
