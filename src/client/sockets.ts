/** The WebSockets of one client: as few as hold its runs. */

import type { Read } from "./run.ts";
import { openSocket, type Socket, type SocketTerms } from "./socket.ts";

/** So many openings in a row must fail before WebSockets count as blocked: where none ever opened, and where some did. */
const BLOCKED_AT_ONCE = 1;
const BLOCKED_LATER = 3;

export interface Sockets {
  readonly read: Read;
  /** WebSockets do not get through to this gateway, as far as was seen. */
  areBlocked(): boolean;
  /** Nothing else got through either: it was the network, and said nothing about WebSockets. */
  forgive(): void;
  close(): void;
}

export function createSockets(
  url: string,
  WebSocket: SocketTerms["WebSocket"],
  ticket: SocketTerms["ticket"],
): Sockets {
  const sockets = new Set<Socket>();
  let failures = 0;
  let most = BLOCKED_AT_ONCE;

  function open(): Socket {
    const socket = openSocket({
      url,
      WebSocket,
      ticket,
      onOpen() {
        failures = 0;
        most = BLOCKED_LATER;
      },
      onClosed(it, isBlocked) {
        sockets.delete(it);
        if (isBlocked) failures++;
      },
    });
    sockets.add(socket);
    return socket;
  }

  return {
    async read(run, signal) {
      const socket = [...sockets].find((each) => each.hasRoomFor(run)) ?? open();
      if (!(await socket.read(run, signal))) return this.read(run, signal);
    },
    areBlocked: () => failures >= most,
    forgive() {
      failures = 0;
    },
    close() {
      for (const socket of sockets) socket.fail();
    },
  };
}
