/** The gateway that everyone writes first: Fastify, the official SDK's iterator, and `JSON.stringify` for each chunk. */
import type { AddressInfo } from "node:net";
import Fastify from "fastify";
import OpenAI from "openai";

const [, , port] = process.argv;
const client = new OpenAI({ baseURL: `http://127.0.0.1:${port}/v1`, apiKey: "none" });
const app = Fastify();
app.post("/v1/chat/completions", async (request, reply) => {
  const body = request.body as OpenAI.ChatCompletionCreateParamsStreaming;
  const stream = await client.chat.completions.create(body);
  reply.hijack();
  reply.raw.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
  for await (const chunk of stream) reply.raw.write(`data: ${JSON.stringify(chunk)}\n\n`);
  reply.raw.end("data: [DONE]\n\n");
});
await app.listen({ host: "127.0.0.1", port: 0 });
process.send?.({ port: (app.server.address() as AddressInfo).port });
process.on("disconnect", () => process.exit(0));
