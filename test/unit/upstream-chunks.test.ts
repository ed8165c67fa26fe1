/** Chunked bodies, however they are framed and cut: against what was put into them, and over real sockets. */
import { once } from "node:events";
import net, { type AddressInfo, type Socket } from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Chunks, eachChunk } from "../../src/upstream/chunks.ts";
import { type Received, readAll } from "../../src/upstream/refusal.ts";
import { exchange, newDispatcher } from "../../src/upstream/transport.ts";

interface Part {
  readonly data: Buffer;
  /** What stands between its size and the end of that line. */
  readonly extension: string;
  /** How its size is written. */
  readonly size: string;
}

const written = [
  (size: string) => size,
  (size: string) => size.toUpperCase(),
  (size: string) => size.padStart(4, "0"),
  (size: string) => size.padStart(12, "0"),
];
const part = fc
  .record({
    data: fc.uint8Array({ minLength: 1, maxLength: 400 }).map(Buffer.from),
    extension: fc.constantFrom("", "", "", "", "", "", "", ";a=b"),
    how: fc.nat(written.length - 1),
  })
  .map(({ data, extension, how }): Part => {
    const size = (written[how] as (size: string) => string)(data.length.toString(16));
    return { data, extension, size };
  });
const parts = fc.array(part, { minLength: 1, maxLength: 12 });
const cuts = fc.array(fc.nat(5000), { maxLength: 12 });

const framed = ({ data, extension, size }: Part): Buffer =>
  Buffer.concat([Buffer.from(`${size}${extension}\r\n`), data, Buffer.from("\r\n")]);

/** `bytes` in pieces that end at `at`, wherever that lies within them. */
function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const ends = [...new Set([...at.filter((end) => end > 0 && end < bytes.length), bytes.length])];
  ends.sort((a, b) => a - b);
  return ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
}

it("what it calls whole chunks starts and ends where chunks do, and is all their data", () => {
  let called = 0;
  fc.assert(
    fc.property(parts, cuts, fc.boolean(), (all, at, isAtChunks) => {
      const blocks = all.map(framed);
      const starts = [0];
      for (const block of blocks) starts.push((starts.at(-1) as number) + block.length);
      const bytes = Buffer.concat(blocks);
      const ends = isAtChunks ? at.map((end) => starts[end % starts.length] as number) : at;
      const chunks = new Chunks();
      let from = 0;
      for (const piece of cut(bytes, ends)) {
        const end = from + piece.length;
        const within = all.slice(starts.indexOf(from), starts.indexOf(end));
        const isPlain = all.every(({ extension, size }) => extension === "" && size.length <= 5);
        const isWhole = starts.includes(from) && starts.includes(end);
        const told = chunks.follow(bytes, from, end);
        // Beyond what is plain, none is called whole; before that, all are that are.
        if (told) {
          called++;
          expect(isWhole).toBe(true);
          const taken: Buffer[] = [];
          eachChunk(
            bytes,
            from,
            end,
            (own, start, stop) => void taken.push(Buffer.from(own.subarray(start, stop))),
          );
          expect(Buffer.concat(taken)).toEqual(Buffer.concat(within.map(({ data }) => data)));
        } else if (isPlain && isAtChunks) expect(isWhole).toBe(false);
        from = end;
      }
    }),
    { numRuns: 2000 },
  );
  expect(called).toBeGreaterThan(300);
});

it("the last chunk, a bad line end and what is no size are the parser's", () => {
  for (const text of [
    "0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhelloXX",
    "g\r\n",
    "\r\n",
    "5\nhello\r\n",
    "HTTP/1.1 200 OK\r\n",
  ]) {
    const chunks = new Chunks();
    const bytes = Buffer.from(text);
    expect([text, chunks.follow(bytes, 0, bytes.length)]).toEqual([text, false]);
    const plain = Buffer.from("5\r\nhello\r\n");
    expect([text, chunks.follow(plain, 0, plain.length)]).toEqual([text, false]);
  }
});

const HEAD = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const dispatcher = newDispatcher(false);
/** What the next request is answered with, each piece in a read of its own. */
let pieces: Buffer[] = [];
let connections = 0;
const server = net.createServer({ noDelay: true }, (socket) => {
  connections++;
  socket.on("error", () => {});
  // Each request comes in one read.
  socket.on("data", () => void answer(socket));
});

async function answer(socket: Socket): Promise<void> {
  for (const piece of pieces) {
    if (!socket.write(piece)) await once(socket, "drain");
    // So that the other side, in this process, reads it alone.
    for (let turns = 0; turns < 3; turns++) await turn();
  }
}

beforeAll(() => new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve)));
afterAll(async () => {
  await dispatcher.close();
  server.close();
});

async function received(...next: Buffer[]): Promise<Received> {
  pieces = next;
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const head = { origin, path: "/", headers: {} };
  const { body } = await exchange(dispatcher, "GET", head, null, new AbortController().signal);
  return readAll(body, 1_000_000);
}

it("bodies come whole over one connection, however they are cut", { timeout: 60_000 }, async () => {
  const trailers = fc.constantFrom("0\r\n\r\n", "000\r\n\r\n", "0\r\nx-sum: 1\r\n\r\n");
  await fc.assert(
    fc.asyncProperty(parts, cuts, trailers, fc.boolean(), async (all, at, last, isAtChunks) => {
      const blocks = [Buffer.from(HEAD), ...all.map(framed), Buffer.from(last)];
      const bytes = Buffer.concat(blocks);
      const body = Buffer.concat(all.map(({ data }) => data));
      expect(await received(...(isAtChunks ? blocks : cut(bytes, at)))).toEqual({
        bytes: body,
        isWhole: true,
      });
    }),
    { numRuns: 300 },
  );
  // One that was left in a wrong state would be closed, each time.
  expect(connections).toBeLessThan(5);
});

it("headers that follow early hints, or come in two reads, lose nothing", async () => {
  const rest = ["5\r\nhello\r\n", "6\r\n world\r\n", "0\r\n\r\n"].map((text) => Buffer.from(text));
  const hints = "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n";
  const whole = { bytes: Buffer.from("hello world"), isWhole: true };
  expect(await received(Buffer.from(hints + HEAD), ...rest)).toEqual(whole);
  expect(await received(Buffer.from(HEAD.slice(0, 30)), Buffer.from(HEAD.slice(30)), ...rest)).toEqual(whole);
  expect(await received(Buffer.from(`${HEAD}5\r\nhe`), Buffer.from("llo\r\n"), ...rest.slice(1))).toEqual(
    whole,
  );
});

it("a body whose framing breaks off or is wrong is not whole", async () => {
  const first = Buffer.from(`${HEAD}5\r\nhello\r\n`);
  for (const wrong of ["5\r\nworldXX0\r\n\r\n", "x\r\n", "5;\r\nworl\r\n\r\n0\r\n\r\n"])
    expect(await received(first, Buffer.from("5\r\n, you\r\n"), Buffer.from(wrong))).toMatchObject({
      isWhole: false,
    });
});
