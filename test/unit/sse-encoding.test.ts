import { createParser, type EventSourceMessage } from "eventsource-parser";
import { describe, expect, it } from "vitest";
import { Fault } from "../../src/core/errors.ts";
import type { Generation } from "../../src/core/generation.ts";
import { type Ending, MULTILINE } from "../../src/core/ports.ts";
import { Chunk } from "../../src/transport/chunk.ts";
import { type EncodeBatch, endingObject, generationObject, shared } from "../../src/transport/encoding.ts";
import { eventFrames } from "../../src/transport/frames.ts";
import { errorPayload, eventBlock, resumableEncoding, stockEncoding } from "../../src/transport/sse.ts";
import { appendTo, COMPLETED, ending, failed, newGeneration } from "../support/core.ts";

function generationOf(...payloads: string[]): Generation {
  const { generation } = newGeneration();
  for (const payload of payloads) {
    appendTo(generation.log, payload, /[\r\n]/.test(payload) ? MULTILINE : 0);
  }
  generation.log.publish();
  return generation;
}

/** What a client reads: by a parser that we did not write. */
function parsed(bytes: Buffer | undefined): EventSourceMessage[] {
  const events: EventSourceMessage[] = [];
  const parser = createParser({ onEvent: (event) => void events.push(event) });
  parser.feed((bytes ?? Buffer.alloc(0)).toString());
  return events;
}

const ended = (end: Partial<Ending>): Ending => ending(end);

describe("the stock wire", () => {
  it("has data lines and nothing else, byte for byte", () => {
    const payloads = ['{"n":1.0, "t":"\\u00e9😀"}', "null", '{"b": 2}'];
    const { bytes } = stockEncoding.events(generationOf(...payloads), 0, 3);
    expect(bytes.toString()).toBe(payloads.map((payload) => `data: ${payload}\n\n`).join(""));
  });

  it("takes a part of the log", () => {
    expect(stockEncoding.events(generationOf("1", "2", "3", "4"), 1, 3).bytes.toString()).toBe(
      "data: 2\n\ndata: 3\n\n",
    );
    expect(stockEncoding.events(generationOf("1"), 1, 1)).toMatchObject({
      isEmpty: true,
      coded: Buffer.alloc(0),
    });
  });

  it.each(["\n", "\r\n", "\r"])("sends a payload of several lines, ended by %j, as several lines", (end) => {
    const generation = generationOf(["{", '"a": "é"', "", "}"].join(end), "1");
    const { bytes } = stockEncoding.events(generation, 0, 2);
    expect(bytes.toString()).toBe('data: {\ndata: "a": "é"\ndata: \ndata: }\n\ndata: 1\n\n');
    expect(parsed(bytes).map(({ data }) => data)).toEqual(['{\n"a": "é"\n\n}', "1"]);
  });

  it.each(["completed", "incomplete"] as const)("ends with [DONE] where it ended well: %s", (status) => {
    expect(stockEncoding.ending(generationOf(), ended({ status }), 1)?.toString()).toBe("data: [DONE]\n\n");
  });

  it.each(["failed", "cancelled"] as const)("ends with an error, and no [DONE]: %s", (status) => {
    const fault = new Fault(status === "failed" ? "upstream_stalled" : "cancelled");
    const last = stockEncoding.ending(generationOf(), ended({ status, fault }), 1);
    expect(last?.toString()).toBe(`data: ${JSON.stringify({ error: fault.toObject() })}\n\n`);
  });
});

describe("an error payload", () => {
  it("goes out as it came from the upstream's stream, line by line", () => {
    const said = { body: Buffer.from('{"error" :\n {"message":"é","code":1.0}}') };
    const fault = new Fault("upstream_error", { said });
    expect(errorPayload(fault)).toBe(said.body.toString());
    const last = stockEncoding.ending(generationOf(), ended({ status: "failed", fault }), 1);
    expect(parsed(last).map(({ data }) => data)).toEqual([said.body.toString()]);
  });

  it("is our own where the upstream refused with a status: its body is an answer, no event", () => {
    const fault = new Fault("upstream_error", { said: { status: 400, body: Buffer.from("{}") } });
    expect(JSON.parse(errorPayload(fault))).toEqual({ error: fault.toObject() });
  });

  it("never is that of no fault", () => {
    expect(() => errorPayload(undefined)).toThrow();
  });
});

describe("the resumable encoding", () => {
  it("numbers every event, and only so", () => {
    const generation = generationOf("1", '{\n"a":2}', "3");
    const { bytes } = resumableEncoding.events(generation, 1, 3);
    expect(bytes.toString()).toBe('id: 2\ndata: {\ndata: "a":2}\n\nid: 3\ndata: 3\n\n');
    expect(parsed(bytes)).toMatchObject([
      { id: "2", data: '{\n"a":2}', event: undefined },
      { id: "3", data: "3", event: undefined },
    ]);
  });

  it("tells the ending as an event with its seq", () => {
    const usage = { prompt_tokens: 1 };
    const last = ended({ status: "failed", usage, fault: new Fault("log_limit") });
    const [event] = parsed(resumableEncoding.ending(generationOf("1"), last, 2));
    expect(event).toMatchObject({ id: "2", event: "end" });
    expect(JSON.parse(event?.data ?? "")).toEqual({
      status: "failed",
      usage,
      error: {
        message: "The generation grew beyond the size that this gateway keeps.",
        type: "server_error",
        param: null,
        code: "log_limit",
      },
      timing: last.timing,
    });
  });

  it("leaves out what there is not", () => {
    expect(Object.keys(endingObject(ended({})))).toEqual(["status", "timing"]);
  });
});

it("an event block splits lines of any end, so that no payload can end its event or forge another", () => {
  const block = eventBlock("id: 1\n", "a\n\nevent: x\r\rdata: y\r\nb");
  expect(parsed(block)).toEqual([{ id: "1", event: undefined, data: "a\n\nevent: x\n\ndata: y\nb" }]);
});

describe("what is encoded", () => {
  it.each<[string, EncodeBatch<Chunk | Buffer>]>([
    ["for the stock wire", stockEncoding.events],
    ["for /events", resumableEncoding.events],
    ["for WebSocket", eventFrames],
  ])("%s is made once for readers at the same position: the same object", (_name, encode) => {
    const [one, other] = [generationOf("1", "2"), generationOf("1", "2")];
    const first = encode(one, 0, 2);
    expect(encode(one, 0, 2)).toBe(first);
    expect(encode(other, 0, 2)).not.toBe(first);
    const lagging = encode(one, 0, 1);
    expect(lagging).not.toEqual(first);
    expect(encode(one, 0, 2)).toEqual(first);
    expect(encode(one, 1, 2)).not.toEqual(lagging);
  });

  it("is counted: one encoding for any number of readers in step", () => {
    let calls = 0;
    const encode = shared((_generation, after, last) => {
      calls++;
      return Buffer.from(`${after}-${last}`);
    });
    const generation = generationOf();
    for (let step = 0; step < 10; step++) {
      for (let reader = 0; reader < 100; reader++) {
        expect(encode(generation, step, step + 1).toString()).toBe(`${step}-${step + 1}`);
      }
    }
    expect(calls).toBe(10);
  });
});

describe("a chunk of the chunked coding", () => {
  it.each([1, 15, 16, 255, 4096, 70_000])("of %i bytes has its size in hex, and what it holds", (length) => {
    const bytes = Buffer.alloc(length, "x");
    const chunk = Chunk.from(bytes);
    expect(chunk.coded.toString()).toBe(`${length.toString(16)}\r\n${bytes}\r\n`);
    expect(chunk.bytes.equals(bytes)).toBe(true);
  });

  it("of nothing is nothing: a chunk without bytes would end the answer", () => {
    expect(Chunk.from(Buffer.alloc(0)).coded).toHaveLength(0);
    expect(Chunk.from(Buffer.alloc(0)).bytes).toHaveLength(0);
  });
});

describe("the generation as a resource", () => {
  it("tells what is known while it waits, and no more", () => {
    const { generation } = newGeneration({ model: undefined });
    generation.waits(() => 3);
    generation.join("sse", true);
    const object = generationObject(generation);
    expect(object).toMatchObject({
      id: generation.id,
      object: "generation",
      status: "queued",
      model: null,
      position: 3,
      last_seq: 0,
      readers: 1,
    });
    expect(Object.keys(object)).not.toContain("error");
  });

  it("tells the ending", () => {
    const [well, badly] = [generationOf("1"), generationOf()];
    well.finish({ ...COMPLETED, usage: { total_tokens: 7 } });
    badly.finish(failed("upstream_timeout"));
    expect(generationObject(well)).toMatchObject({
      status: "completed",
      last_seq: 2,
      usage: { total_tokens: 7 },
      timing: { duration_ms: expect.any(Number) },
    });
    expect(generationObject(badly)).toMatchObject({
      status: "failed",
      last_seq: 1,
      error: { code: "upstream_timeout" },
    });
  });
});
