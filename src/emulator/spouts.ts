/** The boundaries in which a body leaves. A spout takes events and decides which bytes make one write. */
import type { Outlet, Sent } from "./outlet.ts";
import type { Script } from "./script.ts";

export interface Spout {
  /** Takes an event, or several; comes back when the socket has room again. */
  send(bytes: string | Buffer, sent: Sent): Promise<void>;
  /** Writes what is still held back. */
  flush(): Promise<void>;
}

/** How many events a recorded provider sent with each read, and the gaps between the reads. */
export interface Timing {
  readonly eventsPerRead: readonly number[];
  readonly gapsMs: readonly number[];
}

export const NOTHING: Sent = { tokens: 0, events: 0 };

/** The body was cut where the script wanted it cut. */
export class CutReached extends Error {
  override readonly name = "CutReached";
}

/** The spout that the script asks for. */
export function spoutFor(out: Outlet, script: Script, timing: Timing): Spout {
  const spout = readSpout(out, script, timing);
  return script.cut_at === undefined ? spout : new CutSpout(spout, script.cut_at);
}

function readSpout(out: Outlet, { read }: Script, timing: Timing): Spout {
  if (read === undefined) return new DirectSpout(out);
  if (read === "event") return new EventSpout(out);
  if (read === "timed") return new TimedSpout(out, timing);
  return new PieceSpout(out, read === "whole" ? Number.POSITIVE_INFINITY : read);
}

class DirectSpout implements Spout {
  readonly #out: Outlet;

  constructor(out: Outlet) {
    this.#out = out;
  }

  async send(bytes: string | Buffer, sent: Sent): Promise<void> {
    if (!this.#out.write(bytes, sent)) await this.#out.drained();
  }

  async flush(): Promise<void> {}
}

/** Each event in a write and a turn of the event loop of its own. */
class EventSpout implements Spout {
  readonly #out: Outlet;

  constructor(out: Outlet) {
    this.#out = out;
  }

  async send(bytes: string | Buffer, sent: Sent): Promise<void> {
    if (!this.#out.write(bytes, sent)) await this.#out.drained();
    await this.#out.turn();
  }

  async flush(): Promise<void> {}
}

/** Above so many pieces, only some get a turn of their own; each still is a write and an HTTP chunk of its own. */
const PIECES_BEFORE_HASTE = 4_096;
const PIECES_A_TURN_IN_HASTE = 16;

class PieceSpout implements Spout {
  readonly #out: Outlet;
  readonly #size: number;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #heldSent = NOTHING;
  #pieces = 0;

  constructor(out: Outlet, size: number) {
    this.#out = out;
    this.#size = size;
  }

  async send(bytes: string | Buffer, sent: Sent): Promise<void> {
    const taken = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
    this.#held.push(taken);
    this.#heldBytes += taken.length;
    this.#heldSent = {
      tokens: this.#heldSent.tokens + sent.tokens,
      events: this.#heldSent.events + sent.events,
    };
    if (this.#heldBytes >= this.#size) await this.#writeWholePieces();
  }

  async #writeWholePieces(): Promise<void> {
    const bytes = Buffer.concat(this.#held);
    const end = bytes.length - (bytes.length % this.#size);
    this.#hold(bytes.subarray(end));
    for (let at = 0; at < end; at += this.#size) await this.#piece(bytes.subarray(at, at + this.#size));
  }

  async flush(): Promise<void> {
    const bytes = Buffer.concat(this.#held);
    this.#hold(Buffer.alloc(0));
    if (bytes.length > 0) await this.#piece(bytes);
  }

  #hold(rest: Buffer): void {
    this.#held = rest.length > 0 ? [rest] : [];
    this.#heldBytes = rest.length;
  }

  async #piece(bytes: Buffer): Promise<void> {
    const sent = this.#heldSent;
    this.#heldSent = NOTHING;
    if (!this.#out.write(bytes, sent)) await this.#out.drained();
    this.#pieces += 1;
    const inHaste = this.#pieces > PIECES_BEFORE_HASTE && this.#pieces % PIECES_A_TURN_IN_HASTE !== 0;
    await (inHaste ? this.#out.uncorked() : this.#out.turn());
  }
}

/** As many events a write, and gaps between them, as were recorded; from the start again when the recording is over. */
class TimedSpout implements Spout {
  readonly #out: Outlet;
  readonly #timing: Timing;
  #reads = 0;
  #events: { bytes: Buffer; sent: Sent }[] = [];

  constructor(out: Outlet, timing: Timing) {
    this.#out = out;
    this.#timing = timing;
  }

  async send(bytes: string | Buffer, sent: Sent): Promise<void> {
    this.#events.push({ bytes: Buffer.from(bytes), sent });
    if (this.#events.length >= cyclic(this.#timing.eventsPerRead, this.#reads, 1)) await this.#read();
  }

  flush(): Promise<void> {
    return this.#events.length > 0 ? this.#read() : Promise.resolve();
  }

  async #read(): Promise<void> {
    const events = this.#events;
    this.#events = [];
    const sent = events.reduce(
      (sum, event) => ({ tokens: sum.tokens + event.sent.tokens, events: sum.events + event.sent.events }),
      NOTHING,
    );
    if (!this.#out.write(Buffer.concat(events.map((event) => event.bytes)), sent)) await this.#out.drained();
    await this.#out.sleep(cyclic(this.#timing.gapsMs, this.#reads, 0));
    this.#reads += 1;
  }
}

function cyclic(values: readonly number[], index: number, otherwise: number): number {
  return values.length === 0 ? otherwise : (values[index % values.length] ?? otherwise);
}

/** Lets so many bytes pass, and then throws `CutReached`. */
class CutSpout implements Spout {
  readonly #inner: Spout;
  #room: number;

  constructor(inner: Spout, at: number) {
    this.#inner = inner;
    this.#room = at;
  }

  async send(bytes: string | Buffer, sent: Sent): Promise<void> {
    const taken = Buffer.from(bytes);
    if (taken.length < this.#room) {
      this.#room -= taken.length;
      return this.#inner.send(taken, sent);
    }
    if (this.#room > 0) await this.#inner.send(taken.subarray(0, this.#room), NOTHING);
    await this.#inner.flush();
    throw new CutReached();
  }

  flush(): Promise<void> {
    return this.#inner.flush();
  }
}

/** Keeps everything: a body that is to be sent in another form. */
export class CollectingSpout implements Spout {
  readonly #parts: Buffer[] = [];

  async send(bytes: string | Buffer): Promise<void> {
    this.#parts.push(Buffer.from(bytes));
  }

  async flush(): Promise<void> {}

  body(): Buffer {
    return Buffer.concat(this.#parts);
  }
}
