/** One WebSocket client: its messages and its subscriptions (PROTOCOL.md, section 3). */

import type { Socket } from "node:net";
import type { WebSocket } from "ws";
import { asFault, Fault } from "../core/errors.ts";
import type { Generation } from "../core/generation.ts";
import type { Origin } from "../core/ports.ts";
import type { Identity } from "../security/identity.ts";
import { Delivery } from "../transport/deliver.ts";
import { CLOSE, Connection, WebSocketOutlet } from "../transport/websocket.ts";
import { resumed } from "./generations.ts";
import type { House } from "./house.ts";
import { BadMessage, type ClientMessage, type MessageOf, readMessage } from "./messages.ts";
import { countRefusal } from "./refusals.ts";
import { CHAT, memberBytes, readPosition, readStart } from "./request.ts";

export const SUBPROTOCOL = "sluice.v1";
export const MAX_SUBSCRIPTIONS = 64;
const MAX_BAD_MESSAGES = 100;
/** A client that is told to come back is told when. Milliseconds. */
const RETRY_MS = 1000;

interface Subscription {
  readonly generation: Generation;
  readonly delivery: Delivery;
}

export class Session {
  readonly #house: House;
  readonly #owner: string;
  readonly #only: string | undefined;
  readonly #origin: Origin;
  readonly #ws: WebSocket;
  readonly #connection: Connection;
  readonly #onClosed: (session: Session) => void;
  /** By the client's own name. */
  readonly #subscriptions = new Map<string, Subscription>();
  #badMessages = 0;
  /** Messages that have come and are not answered yet. */
  #pending = 0;
  #isClosed = false;
  #isDraining = false;
  /** Messages are answered one after the other, in the order in which they came. */
  #tail: Promise<void> = Promise.resolve();

  /** @param who the owner of what it starts and finds; with `only`, of one generation and nothing else */
  constructor(
    house: House,
    who: Identity & { readonly origin: Origin },
    ws: WebSocket,
    socket: Socket,
    onClosed: (session: Session) => void,
  ) {
    this.#house = house;
    this.#owner = who.owner;
    this.#only = who.only;
    this.#origin = who.origin;
    this.#ws = ws;
    this.#onClosed = onClosed;
    this.#connection = new Connection(ws, socket, house.limits, () => this.#drained());
    house.gateway.observer.connectionOpened();
    ws.on("message", (data, isBinary) => this.#received(data as Buffer, isBinary));
    ws.on("close", () => this.#closed());
  }

  start(): void {
    this.#connection.send({
      type: "ready",
      protocol: SUBPROTOCOL,
      heartbeat_ms: this.#house.limits.heartbeatMs,
      max_message_bytes: this.#house.limits.maxBodyBytes,
      max_subscriptions: MAX_SUBSCRIPTIONS,
    });
    if (this.#house.gateway.isDraining) this.#drainNewcomer();
  }

  /** The gateway is going away: idle connections close, the others when their subscriptions have ended. */
  drain(): void {
    this.#isDraining = true;
    this.#connection.send({ type: "draining", retry_ms: RETRY_MS });
    this.#leaveIfIdle();
  }

  /** Joining what runs is no new work: who comes during the drain has a moment to do so. */
  #drainNewcomer(): void {
    this.#connection.send({ type: "draining", retry_ms: RETRY_MS });
    setTimeout(() => {
      this.#isDraining = true;
      this.#leaveIfIdle();
    }, RETRY_MS).unref();
  }

  close(code: number, reason: string): void {
    this.#connection.close(code, reason);
  }

  /** Something is still to be read on it: events, an ending, or bytes that the socket has not taken yet. */
  get isReading(): boolean {
    return this.#subscriptions.size > 0 || this.#connection.backlog > 0;
  }

  /** Drops the socket, for a peer that does not answer a close. */
  terminate(): void {
    this.#ws.terminate();
  }

  #received(data: Buffer, isBinary: boolean): void {
    // What comes while a message is being answered stays in the socket.
    this.#ws.pause();
    this.#pending++;
    this.#tail = this.#tail.then(async () => {
      await this.#answer(data, isBinary);
      this.#pending--;
      this.#readOn();
    });
  }

  /** Reads on once all that came is answered and the answers are taken: a client that only asks cannot fill the memory. */
  #readOn(): void {
    if (this.#pending === 0 && !this.#isClosed && !this.#connection.isBehind) this.#ws.resume();
  }

  async #answer(data: Buffer, isBinary: boolean): Promise<void> {
    if (this.#isClosed || !this.#connection.isOpen) return;
    let message: ClientMessage | undefined;
    try {
      message = readMessage(data, isBinary);
      await this.#act(message, data);
    } catch (thrown) {
      this.#tell(thrown, message);
      if (thrown instanceof BadMessage && thrown.creates) this.#refused(thrown);
      if (thrown instanceof BadMessage && ++this.#badMessages > MAX_BAD_MESSAGES) {
        this.#connection.close(CLOSE.badMessages, "too many bad messages");
      }
    }
  }

  #tell(thrown: unknown, message: ClientMessage | undefined): void {
    const fault = asFault(thrown);
    const id = thrown instanceof BadMessage ? thrown.id : (message as { id?: string } | undefined)?.id;
    const generation = (message as { generation?: string } | undefined)?.generation;
    this.#connection.send({
      type: "error",
      ...(id === undefined ? {} : { id }),
      ...(generation === undefined ? {} : { generation }),
      error: fault.toObject(),
    });
  }

  #act(message: ClientMessage, data: Buffer): Promise<void> | void {
    switch (message.type) {
      case "generate":
        return this.#generate(message, data);
      case "subscribe":
        return this.#subscribe(message);
      case "unsubscribe":
        return this.#unsubscribe(message);
      case "cancel":
        return this.#cancel(message);
      case "ping":
        return this.#connection.send({ type: "pong" });
    }
  }

  async #generate(message: MessageOf<"generate">, data: Buffer): Promise<void> {
    const { gateway, additions } = this.#house;
    try {
      if (this.#only !== undefined) throw new Fault("not_allowed");
      this.#checkName(message.id);
      const start = await readStart(
        memberBytes(data, "request"),
        {
          endpoint: CHAT,
          owner: this.#owner,
          transport: () => "websocket",
          impliesStream: true,
          policy: message.on_disconnect,
          defaultPolicy: "grace",
          idempotencyKey: message.idempotency_key,
          origin: this.#origin,
        },
        additions,
      );
      if (this.#isClosed) return;
      const { generation, isAttached } = gateway.start(start);
      this.#follow(message.id, generation, 0, !isAttached);
    } catch (thrown) {
      this.#refused(thrown);
      throw thrown;
    }
  }

  #refused(thrown: unknown): void {
    const request = { transport: "websocket", key: this.#owner, origin: this.#origin } as const;
    countRefusal(this.#house, asFault(thrown), request);
  }

  async #subscribe(message: MessageOf<"subscribe">): Promise<void> {
    const { starting_after: given } = message;
    const after = given === undefined ? 0 : readPosition(given, "starting_after");
    this.#checkName(message.id);
    this.#checkOpen(message.generation);
    // Before it counts as a resume.
    this.#checkNotFollowed(message.generation);
    const generation = await resumed(this.#house, message.generation, this.#owner, after, "websocket");
    if (!this.#isClosed) this.#follow(message.id, generation, after, after === 0);
  }

  #unsubscribe({ id }: MessageOf<"unsubscribe">): void {
    const { generation, delivery } = this.#named(id);
    // Before the delivery is over: an idle connection may be closed by that.
    this.#connection.send({ type: "unsubscribed", id, generation: generation.id });
    delivery.stop(false);
  }

  async #cancel({ id, generation: name }: MessageOf<"cancel">): Promise<void> {
    if (id !== undefined) {
      this.#named(id).generation.cancel("cancelled");
      return;
    }
    if (name === undefined) throw new BadMessage("invalid_request", "cancel needs an id or a generation.");
    this.#checkOpen(name);
    (await this.#house.gateway.find(name, this.#owner)).cancel("cancelled");
  }

  #named(id: string): Subscription {
    const subscription = this.#subscriptions.get(id);
    if (subscription === undefined)
      throw new Fault("invalid_request", { message: `Nothing here is called ${id}.`, param: "id" });
    return subscription;
  }

  /** A ticket for one generation opens no other. */
  #checkOpen(generation: string): void {
    if (this.#only !== undefined && this.#only !== generation) throw new Fault("not_allowed");
  }

  #checkName(id: string): void {
    if (this.#subscriptions.has(id)) {
      throw new Fault("invalid_request", { message: `There is already a subscription ${id}.`, param: "id" });
    }
    if (this.#subscriptions.size >= MAX_SUBSCRIPTIONS)
      throw new Fault("too_many_subscriptions", { retryAfterS: 1 });
  }

  #checkNotFollowed(name: string): void {
    for (const { generation } of this.#subscriptions.values())
      if (generation.id === name) throw new Fault("already_subscribed");
  }

  #follow(id: string, generation: Generation, after: number, isFirstHand: boolean): void {
    this.#checkNotFollowed(generation.id);
    const reader = generation.join("websocket", isFirstHand);
    const outlet = new WebSocketOutlet(generation, this.#connection, () => this.#cutOff());
    const delivery = new Delivery(reader, outlet, after, this.#house.limits, {
      onOver: () => {
        this.#subscriptions.delete(id);
        this.#connection.carry(this.#subscriptions.size);
        const isCutShort = generation.log.ending?.fault?.code === "draining";
        this.#leaveIfIdle(isCutShort ? CLOSE.restart : CLOSE.goingAway);
      },
    });
    this.#subscriptions.set(id, { generation, delivery });
    this.#connection.carry(this.#subscriptions.size);
    const { status, log } = generation;
    this.#connection.send({ type: "accepted", id, generation: generation.id, status, last_seq: log.lastSeq });
    delivery.start();
  }

  #leaveIfIdle(code: number = CLOSE.goingAway): void {
    if (this.#isDraining && this.#subscriptions.size === 0) this.#connection.close(code, "draining");
  }

  #drained(): void {
    for (const { delivery } of this.#subscriptions.values()) delivery.drained();
    this.#readOn();
  }

  /** A reader took nothing for too long; all that share the socket go with it, and can resume. */
  #cutOff(): void {
    this.#connection.cut(CLOSE.tryLater, "slow_reader");
    this.#stopAll();
  }

  #stopAll(): void {
    for (const { delivery } of [...this.#subscriptions.values()]) delivery.stop(true);
  }

  #closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#connection.release();
    this.#stopAll();
    this.#house.gateway.observer.connectionClosed();
    this.#onClosed(this);
  }
}
