/** Bytes on a socket of their own: what a client library would never send, and what comes back. */
import { once } from "node:events";
import net from "node:net";

export interface Answered {
  /** 0 where nothing came. */
  readonly status: number;
  /** Lower case, without the status line. */
  readonly head: string;
  readonly body: string;
  /** All of it. */
  readonly text: string;
}

export function connect(url: string): net.Socket {
  const { hostname, port } = new URL(url);
  const socket = net.connect(Number(port), hostname);
  // A reset is an answer too.
  socket.on("error", () => {});
  return socket;
}

export function parseAnswer(text: string): Answered {
  const split = text.indexOf("\r\n\r\n");
  const lines = (split < 0 ? text : text.slice(0, split)).split("\r\n");
  return {
    status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0),
    head: lines.slice(1).join("\n").toLowerCase(),
    body: split < 0 ? "" : text.slice(split + 4),
    text,
  };
}

/** Sends the bytes and reads until the server closes, however long that takes. */
export async function exchange(url: string, bytes: string | Buffer): Promise<Answered> {
  const socket = connect(url);
  let text = "";
  socket.setEncoding("latin1").on("data", (part: string) => {
    text += part;
  });
  const closed = once(socket, "close");
  socket.write(bytes);
  await closed;
  return parseAnswer(text);
}

/** A request as text, closing after its answer. */
export function requestText(
  url: string,
  line: string,
  headers: Readonly<Record<string, string>> = {},
  body = "",
): string {
  const all = {
    host: new URL(url).host,
    connection: "close",
    ...(body === ""
      ? {}
      : { "content-type": "application/json", "content-length": String(Buffer.byteLength(body)) }),
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${line} HTTP/1.1\r\n${lines.join("")}\r\n${body}`;
}

/** The code of the error object in a body; what else stands there, where there is none. */
export function codeOf(body: string): string {
  try {
    const { error } = JSON.parse(body) as { error: Record<string, unknown> };
    const members = ["message", "type", "param", "code"];
    const isWhole = members.every((member) => member in error) && typeof error["message"] === "string";
    return isWhole ? String(error["code"]) : `not the error object: ${body.slice(0, 200)}`;
  } catch {
    return `no JSON: ${body.slice(0, 200)}`;
  }
}
