import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { type Block, eventStream } from "../../src/client/event-stream.ts";
import { textOf } from "../../src/client/text.ts";
import type { Chunk } from "../../src/client/types.ts";

function read(pieces: readonly string[]): { blocks: Block[]; comments: string[] } {
  const blocks: Block[] = [];
  const comments: string[] = [];
  const feed = eventStream(
    (block) => blocks.push(block),
    (comment) => comments.push(comment),
  );
  for (const piece of pieces) feed(piece);
  return { blocks, comments };
}

const STREAM = [
  ": queued position=3\n\n",
  'id: 1\ndata: {"a":1}\n\n',
  ": ping\n\n",
  "id:2\r\ndata:two\r\ndata: lines\r\n\r\n",
  "retry: 10\nnonsense\ndata\n\n",
  "event: end\rid: 3\rdata: :last: \r\r",
  ":x\n",
];
const BLOCKS = [
  { id: "1", event: "", data: '{"a":1}' },
  { id: "2", event: "", data: "two\nlines" },
  { id: "2", event: "", data: "" },
  { id: "3", event: "end", data: ":last: " },
];
const COMMENTS = ["queued position=3", "ping", "x"];

describe("an event stream", () => {
  it("is read with any line ends, comments, several data lines and fields that mean nothing", () => {
    expect(read(STREAM)).toEqual({ blocks: BLOCKS, comments: COMMENTS });
  });

  it("is the same in whatever pieces it comes", () => {
    const whole = STREAM.join("");
    const cuts = fc.array(fc.integer({ min: 0, max: whole.length }));
    fc.assert(
      fc.property(cuts, (at) => {
        const places = [0, ...at.toSorted((a, b) => a - b), whole.length];
        const pieces = places.slice(1).map((end, index) => whole.slice(places[index], end));
        expect(read(pieces)).toEqual({ blocks: BLOCKS, comments: COMMENTS });
      }),
    );
  });

  it("does not tell a last block that was cut", () => {
    expect(read(["id: 1\ndata: a\n\nid: 2\ndata: b\n"]).blocks.map(({ data }) => data)).toEqual(["a"]);
  });

  it("reads a long line in many pieces", () => {
    const long = "x".repeat(1_000_000);
    const pieces = `data: ${long}\n\n`.match(/.{1,1000}|\n/gs) ?? [];
    expect(read(pieces).blocks).toEqual([{ id: "", event: "", data: long }]);
  });
});

test.each<[object, string]>([
  [{ choices: [{ index: 0, delta: { content: "a" } }] }, "a"],
  [{ choices: [{ delta: { content: "a" } }] }, "a"],
  [{ choices: [{ index: 1, delta: { content: "b" } }] }, ""],
  [
    {
      choices: [
        { index: 1, delta: { content: "b" } },
        { index: 0, delta: { content: "a" } },
      ],
    },
    "a",
  ],
  [{ choices: [{ index: 0, text: "legacy" }] }, "legacy"],
  [
    { choices: [{ index: 0, delta: { content: [{ type: "text", text: "a" }, { type: "image" }, null] } }] },
    "a",
  ],
  [{ choices: [{ index: 0, delta: { content: null, reasoning: "r" } }] }, ""],
  [{ choices: [{ index: 0 }] }, ""],
  [{ choices: [] }, ""],
  [{ choices: null }, ""],
  [{ usage: {} }, ""],
])("the text of %j is %j", (chunk, text) => {
  expect(textOf(chunk as Chunk)).toBe(text);
});
