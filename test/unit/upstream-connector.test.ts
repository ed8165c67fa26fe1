/** Bodies as they come over connections that share one buffer, from real servers. */
import { randomBytes } from "node:crypto";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, it } from "vitest";
import { readAll } from "../../src/upstream/refusal.ts";
import { exchange, newDispatcher } from "../../src/upstream/transport.ts";
import { type PlainUpstream, startPlainUpstream } from "../support/plain-upstream.ts";

const BYTES = 8_388_608;
const dispatcher = newDispatcher(false);
let upstream: PlainUpstream;

/** Each answer is the text of the request, `BYTES` long, in gzip where the text begins with a `z`. */
beforeAll(async () => {
  upstream = await startPlainUpstream((response, body) => {
    const isPacked = body.startsWith("z");
    if (isPacked) response.setHeader("content-encoding", "gzip");
    const bytes = isPacked ? gzipSync(body) : Buffer.from(body);
    // In many chunks, so that a read brings several, and the decoder holds the parser up between them.
    for (let at = 0; at < bytes.length; at += 9000) response.write(bytes.subarray(at, at + 9000));
    response.end();
  });
});
afterAll(async () => {
  await dispatcher.close();
  await upstream.close();
});

async function echoed(text: string): Promise<Buffer> {
  const { origin, pathname: path } = new URL(upstream.url);
  const head = { origin, path, headers: {} };
  const { body } = await exchange(dispatcher, "POST", head, Buffer.from(text), new AbortController().signal);
  return (await readAll(body, 2 * BYTES)).bytes;
}

it.each(["z", "p"])("many at once keep their own bytes, in order (%s)", async (kind) => {
  // Hardly compressible, so that the decoder falls behind.
  const texts = Array.from({ length: 4 }, () => kind + randomBytes(BYTES / 2).toString("hex"));
  const bodies = await Promise.all(texts.map(echoed));
  expect(bodies.map((body, index) => body.equals(Buffer.from(texts[index] as string)))).toEqual([
    true,
    true,
    true,
    true,
  ]);
});
