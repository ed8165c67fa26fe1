/** One reader of one generation: what the client says of it goes into a record. */
import { enterQueue, isDown, isOver, leaveQueue, openMark, takeEvent, tear } from "./record.js";

/** @typedef {import("./record.js").Answer} Answer */
/** @typedef {import("../client/types.ts").Client} Client */
/** @typedef {import("../client/types.ts").Generation} Generation */

export class Reading {
  /** @type {Answer} */
  record;
  /** Called after each change of the record. */
  onChange = () => {};
  /** Called when the gateway asks for a key: the record is not over, and can be followed again. */
  onLocked = () => {};
  /** @type {Generation | undefined} */
  #generation;
  /** Lines that were made again before the last reload. */
  #reconnects = 0;

  /** @param {Answer} record */
  constructor(record) {
    this.record = record;
  }

  get isLive() {
    return !isOver(this.record) && this.record.status !== "locked";
  }

  /** Starts it, or goes on after what the record has; resolves once it is over, or a key is missing. @param {Client} client */
  async follow(client) {
    const { record } = this;
    if (isOver(record)) return;
    this.#reconnects = record.reconnects;
    if (record.events > 0) {
      tear(record, "reload", record.seq);
      this.#reconnects++;
    }
    // Whatever it was before: locked, or stopping when the page was left.
    record.status = "connecting";
    const options = {
      transport: record.asked,
      onQueue: (position) => this.#queued(position),
      onConnection: (connection) => this.#connected(connection),
    };
    this.#generation =
      record.generation === ""
        ? client.generate(record.request, { ...options, idempotencyKey: record.key })
        : client.follow(record.generation, { ...options, after: record.seq });
    const { accepted, ended } = this.#generation;
    // Of a refusal the ending tells.
    accepted.then(
      (id) => this.#change({ generation: id }),
      () => {},
    );
    await this.#readEvents(this.#generation);
    this.#end(await ended);
  }

  /** For everyone who reads it. */
  stop() {
    if (!this.isLive) return;
    this.#change({ status: "stopping" });
    void this.#generation?.cancel();
  }

  /** Drops the connection; the client resumes at once. @param {import("./record.js").Wanted} wanted */
  cut(wanted) {
    const generation = this.#generation;
    if (!this.isLive || generation === undefined || isDown(this.record)) return;
    tear(this.record, "cut", generation.position);
    generation.reconnect(wanted === "auto" ? undefined : wanted);
    this.onChange();
  }

  /** Reads no more; the generation goes on. */
  leave() {
    this.onChange = () => {};
    this.#generation?.leave();
  }

  /** @param {Generation} generation */
  async #readEvents(generation) {
    const events = generation[Symbol.asyncIterator]();
    for (;;) {
      // What it throws is in the ending too.
      const next = await events.next().catch(() => undefined);
      if (next?.value === undefined) return;
      takeEvent(this.record, next.value.seq, next.value.data);
      this.onChange();
    }
  }

  #queued(position) {
    const { record } = this;
    if (isOver(record)) return;
    if (position !== undefined) enterQueue(record, position);
    else if (record.status === "queued") {
      leaveQueue(record);
      record.status = "waiting";
    }
    this.onChange();
  }

  #connected({ transport, after }) {
    const { record } = this;
    if (isOver(record)) return;
    const reconnects = this.#generation?.reconnects ?? 0;
    if (transport === undefined) {
      tear(record, "lost", after);
      this.onChange();
      return;
    }
    const mark = openMark(record);
    if (mark !== undefined) {
      mark.over = transport;
      mark.afterMs = Date.now() - mark.at;
    }
    if (record.status === "connecting") record.status = "waiting";
    this.#change({ transport, reconnects: this.#reconnects + reconnects });
  }

  #end({ status, usage = null, error, timing = null }) {
    const { record } = this;
    if (status === "left") return;
    leaveQueue(record);
    if (error?.type === "authentication_error") {
      this.#change({ status: "locked" });
      this.onLocked();
      return;
    }
    const said = error === undefined ? null : { code: error.code, message: error.message };
    this.#change({ status, usage, timing, error: said });
  }

  #change(change) {
    Object.assign(this.record, change);
    this.onChange();
  }
}
