/** The bare pipe: `node:http` to `node:http`, and nothing else. What Node itself costs. */
import http from "node:http";
import type { AddressInfo } from "node:net";

const [, , port] = process.argv;
const agent = new http.Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });
const server = http.createServer((request, response) => {
  const { method, url, headers } = request;
  const options = { host: "127.0.0.1", port, agent, path: url, ...(method ? { method } : {}), headers };
  const upstream = http.request(options, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(response);
  });
  upstream.on("error", () => response.destroy());
  response.on("close", () => upstream.destroy());
  request.pipe(upstream);
});
server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
  process.send?.({ port: (server.address() as AddressInfo).port });
});
process.on("disconnect", () => process.exit(0));
