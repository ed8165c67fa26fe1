import { describe, expect, it } from "vitest";
import * as ws from "ws";
import type { Generation } from "../../src/core/generation.ts";
import { eventFrames, textFrame } from "../../src/transport/frames.ts";
import { appendTo, newGeneration } from "../support/core.ts";

interface Received {
  readonly text: string;
  readonly isBinary: boolean;
}

type ReceiverClass = new (options: {
  isServer: boolean;
  skipUTF8Validation: boolean;
}) => NodeJS.WritableStream;
// The types of ws leave its receiver out.
const { Receiver } = ws as unknown as { Receiver: ReceiverClass };

/** What a client of `ws` reads of these bytes, whatever the reads: the library's own parser, strict about UTF-8. */
async function receive(bytes: Buffer, readBytes = bytes.length): Promise<Received[]> {
  const received: Received[] = [];
  const receiver = new Receiver({ isServer: false, skipUTF8Validation: false });
  const done = new Promise<void>((resolve, reject) => {
    receiver.on("error", reject);
    receiver.on("finish", resolve);
  });
  receiver.on("message", (data: Buffer, isBinary: boolean) => {
    received.push({ text: data.toString(), isBinary });
  });
  for (let at = 0; at < bytes.length; at += readBytes) receiver.write(bytes.subarray(at, at + readBytes));
  receiver.end();
  await done;
  return received;
}

/** A generation with these events. */
function generationOf(...payloads: string[]): Generation {
  const { generation } = newGeneration();
  for (const payload of payloads) appendTo(generation.log, payload);
  generation.log.publish();
  return generation;
}

/** A JSON string of so many bytes. */
const jsonOf = (bytes: number): string => `"${"x".repeat(bytes - 2)}"`;

// The three forms of a length (RFC 6455, section 5.2), at their edges.
const LENGTHS = [2, 124, 125, 126, 127, 65_534, 65_535, 65_536, 65_537, 300_000];

describe("a text frame", () => {
  it.each(LENGTHS)("of a message of %i bytes is read back by ws", async (length) => {
    const empty = JSON.stringify({ t: "" }).length;
    const message = length < empty ? {} : { t: "x".repeat(length - empty) };
    const frame = textFrame(message);
    expect(await receive(frame)).toEqual([{ text: JSON.stringify(message), isBinary: false }]);
    expect(frame.length - JSON.stringify(message).length).toBe(length < 126 ? 2 : length < 65_536 ? 4 : 10);
  });

  it("counts bytes, not characters", async () => {
    const message = { t: "é😀".repeat(40) };
    expect(await receive(textFrame(message))).toEqual([{ text: JSON.stringify(message), isBinary: false }]);
  });

  it("is whole, final and not masked", () => {
    expect([...textFrame({}).subarray(0, 2)]).toEqual([0x81, 2]);
  });
});

describe("event frames", () => {
  const head = (generation: Generation, seq: number): string =>
    `{"type":"event","generation":"${generation.id}","seq":${seq},"data":`;

  it.each(LENGTHS)(
    "are read back by ws where the whole message has %i bytes more or less",
    async (length) => {
      const overhead = head(newGeneration().generation, 1).length + 1;
      // Payloads for which the message falls on the edge, and those for which the payload itself does.
      for (const bytes of [length, Math.max(2, length - overhead)]) {
        const generation = generationOf(jsonOf(bytes));
        const [message] = await receive(eventFrames(generation, 0, 1));
        expect(message?.text).toBe(`${head(generation, 1)}${jsonOf(bytes)}}`);
      }
    },
  );

  it("hold the upstream's own bytes as the last member", async () => {
    const payload = '{ "n":1.0, "big":12345678901234567890, "n":1e3, "t":"\\u00e9\\/😀" }';
    const generation = generationOf(payload);
    const [message] = await receive(eventFrames(generation, 0, 1));
    expect(message?.text).toBe(`${head(generation, 1)}${payload}}`);
    expect(JSON.parse(message?.text ?? "")).toMatchObject({ type: "event", seq: 1, data: { t: "é/😀" } });
  });

  it("of a batch come in order, whatever the reads that they arrive in", async () => {
    const payloads = Array.from({ length: 300 }, (_, n) => `{"n":${n},"t":"${"é".repeat((n * 37) % 400)}"}`);
    const generation = generationOf(...payloads);
    for (const readBytes of [1, 7, 1000, 1e6]) {
      const messages = await receive(eventFrames(generation, 20, 290), readBytes);
      expect(messages.map(({ text }) => text)).toEqual(
        payloads.slice(20, 290).map((payload, n) => `${head(generation, n + 21)}${payload}}`),
      );
    }
  });

  it("of no events are no bytes", () => {
    expect(eventFrames(generationOf("1"), 1, 1)).toHaveLength(0);
  });

  it("stay what they were when the log grows", async () => {
    const generation = generationOf('"a"');
    const frames = eventFrames(generation, 0, 1);
    for (let n = 0; n < 10_000; n++) appendTo(generation.log, "0000000");
    const [message] = await receive(frames);
    expect(message?.text).toBe(`${head(generation, 1)}"a"}`);
  });
});
