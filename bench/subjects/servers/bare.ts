/**
 * Fan-out and nothing else: what an upstream sends is written, as it came, to every reader's socket. What the kernel and Node's
 * sockets cost by themselves, whoever encodes. It knows one generation at a time.
 */
import http from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { text } from "node:stream/consumers";

const [, , port] = process.argv;
let readers: Socket[] = [];
/** For those that come late. */
let said: Buffer[] = [];
let status = "running";

function generate(body: string): void {
  readers = [];
  said = [];
  status = "running";
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  const options = { host: "127.0.0.1", port, path: "/v1/chat/completions", method: "POST", headers };
  const upstream = http.request(options, (answer) => {
    answer.on("data", (bytes: Buffer) => tell(chunk(bytes)));
    answer.on("end", () => {
      status = "completed";
      tell(Buffer.from("0\r\n\r\n"));
    });
  });
  upstream.end(body);
}

const chunk = (bytes: Buffer): Buffer =>
  Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from("\r\n")]);

function tell(bytes: Buffer): void {
  said.push(bytes);
  for (const reader of readers) reader.write(bytes);
}

const server = http.createServer(async (request, response) => {
  if (request.method === "POST") {
    const { request: asked } = JSON.parse(await text(request)) as { request: object };
    generate(JSON.stringify(asked));
    response.end(JSON.stringify({ id: "bare" }));
  } else if (request.url?.endsWith("/events")) {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.flushHeaders();
    const { socket } = response;
    if (socket === null) return;
    socket.write(Buffer.concat(said));
    readers.push(socket);
    socket.on("error", () => {});
    socket.on("close", () => {
      readers = readers.filter((reader) => reader !== socket);
    });
  } else response.end(JSON.stringify({ status }));
});
server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
  process.send?.({ port: (server.address() as AddressInfo).port });
});
process.on("disconnect", () => process.exit(0));
