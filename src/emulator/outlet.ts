import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { Entry } from "./ledger.ts";

/** Thrown out of every wait and write once the client's socket has closed, so that nothing goes on for nobody. */
export class ClientGone extends Error {
  override readonly name = "ClientGone";
}

/** What a piece of body carried, for the ledger. */
export interface Sent {
  readonly tokens: number;
  readonly events: number;
}

/** How long the peer gets to read before a reset, which may take unread bytes with it. */
const BEFORE_RESET_MS = 10;

/** One answer on its way out. At most one wait at a time: a generation is told by one sequential function. */
export class Outlet {
  readonly #res: ServerResponse;
  readonly #entry: Entry;
  #gone = false;
  #endsAs: "completed" | "faulted" = "completed";
  #interrupt: (() => void) | undefined;

  constructor(res: ServerResponse, entry: Entry) {
    this.#res = res;
    this.#entry = entry;
    res.on("error", () => {});
    res.once("finish", () => entry.close(this.#endsAs));
    res.once("close", () => this.#closed());
    if (res.destroyed || res.socket === null) this.#closed();
  }

  #closed(): void {
    this.#gone = true;
    this.#entry.close(this.#endsAs === "faulted" ? "faulted" : "aborted");
    this.#interrupt?.();
  }

  /** Sends the headers at once. */
  head(status: number, headers: OutgoingHttpHeaders): void {
    this.#mustBeThere();
    this.#entry.record.status = status;
    this.#res.writeHead(status, headers);
    this.#res.flushHeaders();
  }

  /** False when the socket is full: await `drained` before the next write. */
  write(bytes: string | Buffer, sent: Sent): boolean {
    if (this.#gone) this.#entry.sentAfterAbort();
    this.#mustBeThere();
    this.#entry.sent(sent.tokens, sent.events);
    return this.#res.write(bytes);
  }

  drained(): Promise<void> {
    return this.#wait((done) => {
      this.#res.once("drain", done);
      return () => this.#res.off("drain", done);
    });
  }

  /** Waits so many milliseconds, or for one turn of the event loop if there are none to wait. */
  sleep(ms: number): Promise<void> {
    if (ms <= 0) return this.turn();
    return this.#wait((done) => {
      const timer = setTimeout(done, Math.ceil(ms));
      return () => clearTimeout(timer);
    });
  }

  turn(): Promise<void> {
    return this.#wait((done) => {
      const immediate = setImmediate(done);
      return () => clearImmediate(immediate);
    });
  }

  /** Lets Node hand what was written to the kernel, without a turn of the event loop. */
  async uncorked(): Promise<void> {
    await new Promise<void>((resolve) => process.nextTick(resolve));
    this.#mustBeThere();
  }

  /** Never comes back, but throws when the client goes. */
  async hang(): Promise<never> {
    await this.#wait(() => () => {});
    throw new ClientGone();
  }

  end(as: "completed" | "faulted" = "completed"): void {
    this.#mustBeThere();
    this.#endsAs = as;
    this.#res.end();
  }

  /** A whole answer in one. */
  answer(
    status: number,
    headers: OutgoingHttpHeaders,
    body: string | Buffer,
    as?: "completed" | "faulted",
  ): void {
    this.head(status, { ...headers, "content-length": Buffer.byteLength(body) });
    this.write(body, { tokens: 0, events: 0 });
    this.end(as);
  }

  json(status: number, value: unknown): void {
    this.answer(status, { "content-type": "application/json" }, JSON.stringify(value));
  }

  /** A TCP reset, after what was written before it has had time to arrive. */
  async reset(): Promise<void> {
    do await this.sleep(BEFORE_RESET_MS);
    while (this.#res.writableLength > 0 || (this.#res.socket?.writableLength ?? 0) > 0);
    this.#endsAs = "faulted";
    this.#res.socket?.resetAndDestroy();
  }

  /** A clean close of the connection without a byte of an answer. */
  hangUp(): void {
    this.#mustBeThere();
    this.#endsAs = "faulted";
    this.#res.socket?.destroySoon();
  }

  #mustBeThere(): void {
    if (this.#gone) throw new ClientGone();
  }

  #wait(start: (done: () => void) => () => void): Promise<void> {
    if (this.#gone) return Promise.reject(new ClientGone());
    return new Promise((resolve, reject) => {
      const cancel = start(() => {
        this.#interrupt = undefined;
        resolve();
      });
      this.#interrupt = () => {
        cancel();
        reject(new ClientGone());
      };
    });
  }
}
