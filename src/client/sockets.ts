/** The WebSockets of one client: as few as hold its runs. */
import { SluiceError } from "./errors.ts";
import type { Run } from "./run.ts";
import { Socket, type SocketTerms } from "./socket.ts";

/** So many openings in a row must fail before WebSockets count as blocked: where none ever opened, and where some did. */
const BLOCKED_AT_ONCE = 1;
const BLOCKED_LATER = 3;

export class Sockets {
  readonly #terms: SocketTerms;
  readonly #sockets = new Set<Socket>();
  #failures = 0;
  #hasOpened = false;

  constructor(terms: SocketTerms) {
    this.#terms = terms;
  }

  /** WebSockets do not get through to this gateway, as far as was seen. */
  get areBlocked(): boolean {
    return this.#failures >= (this.#hasOpened ? BLOCKED_LATER : BLOCKED_AT_ONCE);
  }

  /** Nothing else got through either: it was the network, and said nothing about WebSockets. */
  forgive(): void {
    this.#failures = 0;
  }

  async read(run: Run, signal: AbortSignal): Promise<void> {
    for (;;) {
      const socket = [...this.#sockets].find((each) => each.hasRoomFor(run)) ?? this.#open();
      socket.runs.add(run);
      try {
        await socket.ready;
        // Only now it is known how many it takes.
        if ([...socket.runs].indexOf(run) < socket.maxRuns) return await socket.read(run, signal);
      } finally {
        socket.released(run);
      }
    }
  }

  close(): void {
    for (const socket of this.#sockets) socket.fail(new Error("closed here"));
  }

  #open(): Socket {
    const socket = new Socket(this.#terms, () => this.#sockets.delete(socket));
    this.#sockets.add(socket);
    socket.ready.then(
      () => {
        this.#hasOpened = true;
        this.#failures = 0;
      },
      (error: unknown) => {
        if (socket.wasTried && !(error instanceof SluiceError)) this.#failures++;
      },
    );
    return socket;
  }
}
