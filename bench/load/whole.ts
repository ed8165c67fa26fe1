/** Asks for an answer that is not streamed, on a connection of its own. */
import net from "node:net";
import type { Lane } from "./lane.ts";

export interface WholeRequest {
  readonly host: string;
  readonly port: number;
  /** The request as it is sent; it asks for the connection to be closed. */
  readonly text: string;
}

export class WholeReader {
  readonly socket: net.Socket;
  #answer = "";

  constructor({ host, port, text }: WholeRequest, lane: Lane, count: (answers: number) => void) {
    this.socket = net.connect({ host, port, noDelay: true });
    this.socket.write(text);
    lane.asked();
    this.socket.on("data", (bytes: Buffer) => {
      this.#answer += bytes.toString("latin1");
      if (lane.hasEnded || !this.#answer.includes('"total_tokens":16}}')) return;
      lane.answered();
      lane.ended(this.#answer.startsWith("HTTP/1.1 200") ? undefined : this.#answer);
      count(1);
      this.socket.destroy();
    });
    this.socket.on("error", ({ message }) => lane.ended(message));
    this.socket.on("close", () => lane.ended(this.#answer || "the connection closed early"));
  }
}
