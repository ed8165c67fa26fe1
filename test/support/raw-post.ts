/** A POST whose answer is looked at as the socket brings it: no client library smooths over what went wrong. */
import http from "node:http";
import net from "node:net";

export interface RawAnswer {
  /** Everything that came, headers and chunk framing included. */
  readonly bytes: Buffer;
  readonly status: number | undefined;
  readonly headers: string;
  /** The body without its chunk framing. */
  readonly body: Buffer;
  /** The body's framing said that it was complete. */
  readonly complete: boolean;
  /** How the connection ended; `open` where `until` was met first. */
  readonly ending: "closed" | "reset" | "open";
}

/**
 * Posts a JSON body on a socket of its own and reads until the connection ends, or the bytes satisfy `until`; the socket is
 * destroyed then.
 */
export function rawPost(url: string, body: unknown, until?: (bytes: Buffer) => boolean): Promise<RawAnswer> {
  const { hostname, port, pathname, host } = new URL(url);
  const text = JSON.stringify(body);
  return new Promise((resolve) => {
    const socket = net.connect(Number(port), hostname);
    let bytes: Buffer = Buffer.alloc(0);
    const finish = (ending: RawAnswer["ending"]): void => {
      socket.destroy();
      resolve(readAnswer(bytes, ending));
    };
    socket.on("data", (part: Buffer) => {
      bytes = Buffer.concat([bytes, part]);
      if (until?.(bytes) === true) finish("open");
    });
    socket.on("end", () => finish("closed"));
    socket.on("error", () => finish("reset"));
    socket.write(
      `POST ${pathname} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\ncontent-type: application/json\r\n` +
        `content-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
    );
  });
}

function readAnswer(bytes: Buffer, ending: RawAnswer["ending"]): RawAnswer {
  const split = bytes.indexOf("\r\n\r\n");
  const headers = bytes.subarray(0, Math.max(split, 0)).toString("latin1").toLowerCase();
  const status = split < 0 ? undefined : Number(headers.split(" ")[1]);
  const rest = bytes.subarray(split + 4);
  if (split < 0) return { bytes, status, headers, body: Buffer.alloc(0), complete: false, ending };
  if (headers.includes("transfer-encoding: chunked")) {
    return { bytes, status, headers, ...unchunk(rest), ending };
  }
  const length = /content-length: (\d+)/.exec(headers)?.[1];
  return { bytes, status, headers, body: rest, complete: rest.length === Number(length), ending };
}

function unchunk(bytes: Buffer): { body: Buffer; complete: boolean } {
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const lineEnd = bytes.indexOf("\r\n", at);
    if (lineEnd < 0) return { body: Buffer.concat(parts), complete: false };
    const size = Number.parseInt(bytes.toString("latin1", at, lineEnd), 16);
    if (size === 0) return { body: Buffer.concat(parts), complete: true };
    parts.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size));
    at = lineEnd + 2 + size + 2;
  }
}

/** The body's pieces as the HTTP client hands them out, one for each chunk of the transfer coding. */
export function piecesOf(url: string, body: unknown): Promise<Buffer[]> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    const request = http.request(url, { method: "POST", headers: { "content-type": "application/json" } });
    request.on("error", reject);
    request.on("response", (response) => {
      response.on("error", reject);
      response.on("data", (piece: Buffer) => pieces.push(piece));
      response.on("end", () => resolve(pieces));
    });
    request.end(JSON.stringify(body));
  });
}
