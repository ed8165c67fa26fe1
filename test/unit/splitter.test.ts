import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EventTooLarge, type OnPayload, Splitter } from "../../src/upstream/splitter.ts";
import { type SplitBody, type SplitEvent, splitWhole } from "../support/event-stream.ts";

const AMPLE = 1_000_000;

/**
 * What the splitter makes of a body that comes in these reads. Each read's buffer is overwritten as soon as `push` is back,
 * as a socket's may be.
 */
function split(reads: readonly Uint8Array[], maxEventBytes = AMPLE): SplitBody {
  const events: SplitEvent[] = [];
  let open: SplitEvent | undefined;
  const eventOf = (...[bytes, start, end, isMultiline]: Parameters<OnPayload>): SplitEvent => ({
    payload: bytes.toString("latin1", start, end),
    isMultiline,
  });
  const splitter = new Splitter(maxEventBytes, (...payload) => void events.push(eventOf(...payload)));
  for (const read of reads) {
    const chunk = Buffer.from(read);
    splitter.push(chunk);
    chunk.fill(0x0a);
  }
  splitter.finish((...payload) => {
    open = eventOf(...payload);
  });
  return { events, open };
}

/** The body cut before each of these places. */
function cut(body: Uint8Array, places: readonly number[]): Uint8Array[] {
  const edges = [0, ...[...places].sort((a, b) => a - b), body.length];
  return edges.slice(1).map((edge, index) => body.subarray(edges[index], edge));
}

const payloads = (text: string): string[] =>
  split([Buffer.from(text)]).events.map(({ payload }) => Buffer.from(payload, "latin1").toString());

describe("the framing", () => {
  it.each([
    ["LF", "data: a\n\ndata: b\n\n"],
    ["CRLF", "data: a\r\n\r\ndata: b\r\n\r\n"],
    ["CR", "data: a\r\rdata: b\r\r"],
    ["a mix", "data: a\r\n\rdata: b\n\r\n"],
    ["no space after the colon", "data:a\n\ndata:b\n\n"],
    ["comments and other fields between", ": ping\n\nid: 7\nevent: x\ndata: a\nretry: 1\n\n:\ndata: b\n\n"],
    ["a byte order mark", "\uFEFFdata: a\n\ndata: b\n\n"],
    ["a byte order mark on a line of its own", "\uFEFF\ndata: a\n\ndata: b\n\n"],
    ["blank events", "data\n\ndata:\n\ndata: \n\ndata: a\n\ndata:\ndata:\n\n\n\ndata: b\n\n"],
    [
      "fields that only look like it",
      "datas: x\ndat: x\n data: x\nDATA: x\ndata : x\n\ndata: a\n\ndata: b\n\n",
    ],
  ])("reads events ended by %s", (_name, body) => {
    expect(payloads(body)).toEqual(["a", "b"]);
  });

  it("drops one space and no more, keeps colons, tabs and a later byte order mark", () => {
    expect(payloads("data:  a: b \n\ndata:\tc\n\ndata: \uFEFFd\n\n")).toEqual([" a: b ", "\tc", "\uFEFFd"]);
  });

  it("joins several data lines with LF, empty ones included, and says so", () => {
    const { events } = split([
      Buffer.from('data: {\r\ndata:\ndata: "a":1}\rid: 1\n\ndata\ndata: x\n\ndata: y\n\n'),
    ]);
    expect(events).toEqual([
      { payload: '{\n\n"a":1}', isMultiline: true },
      { payload: "\nx", isMultiline: true },
      { payload: "y", isMultiline: false },
    ]);
  });

  it.each([
    ["one line end", "data: a\n\ndata: [DONE]\n", "[DONE]"],
    ["no line end", "data: a\n\ndata: [DONE]", "[DONE]"],
    ["several lines", "data: a\n\ndata: {\ndata: }", "{\n}"],
    ["nothing", "data: a\n\n", undefined],
    ["a comment", "data: a\n\n: bye", undefined],
    ["half a field name", "data: a\n\ndat", undefined],
  ])("hands the last block over, where the body ends with %s", (_name, body, open) => {
    const end = split([Buffer.from(body)]);
    expect(end.events.map(({ payload }) => payload)).toEqual(["a"]);
    expect(end.open?.payload).toBe(open);
  });

  it("passes on what the payload's taker throws", () => {
    const splitter = new Splitter(AMPLE, () => {
      throw new Error("full");
    });
    expect(() => splitter.push(Buffer.from("data: a\n\n"))).toThrow("full");
  });
});

const line = fc.oneof(
  fc.constantFrom(
    "",
    "",
    "data",
    "data:",
    "data: ",
    "data:  x",
    ": ping",
    "id: 1",
    "event: message",
    "retry: 5",
  ),
  fc.constantFrom(
    "datax: 1",
    "dat",
    " data: x",
    "data : x",
    'data: {"a":"é😀"}',
    "data: [DONE]",
    "\uFEFFdata: x",
  ),
  fc.string({ unit: "binary", maxLength: 6 }).map((text) => `data:${text.replace(/[\r\n]/g, "")}`),
);
const bodyOf = (maxLength: number): fc.Arbitrary<Buffer> =>
  fc
    .tuple(
      fc.constantFrom("", "", "\uFEFF"),
      fc.array(fc.tuple(line, fc.constantFrom("\n", "\r\n", "\r")), { maxLength }),
      fc.oneof(fc.constant(""), line),
    )
    .map(([mark, lines, last]) => Buffer.from(mark + lines.flat().join("") + last));

describe("any read boundary", () => {
  it("makes no difference: every cut, every two close cuts, and byte by byte", () => {
    fc.assert(
      fc.property(bodyOf(6), (body) => {
        const whole = splitWhole(body);
        const everywhere = Array.from({ length: body.length + 1 }, (_, place) => place);
        expect(split(cut(body, everywhere))).toEqual(whole);
        for (const first of everywhere) {
          expect(split(cut(body, [first]))).toEqual(whole);
          // Pairs cost a square: of those, the near ones, where a line end or a character is cut twice.
          for (const width of [1, 2, 3]) {
            expect(split(cut(body, [first, Math.min(first + width, body.length)]))).toEqual(whole);
          }
        }
      }),
      { numRuns: 200 },
    );
  });

  it("makes no difference to long bodies cut anywhere", () => {
    const places = fc.array(fc.nat(), { maxLength: 40 });
    fc.assert(
      fc.property(bodyOf(120), places, (body, anywhere) => {
        const cuts = anywhere.map((place) => place % (body.length + 1));
        expect(split(cut(body, cuts))).toEqual(splitWhole(body));
      }),
      { numRuns: 500 },
    );
  });

  it("makes no difference to bytes that are no text at all", () => {
    const noise = fc.array(
      fc.constantFrom(0x0a, 0x0d, 0x3a, 0x20, 0x64, 0x61, 0x74, 0xef, 0xbb, 0xbf, 0xff),
      {
        maxLength: 60,
      },
    );
    fc.assert(
      fc.property(noise, fc.array(fc.nat(60), { maxLength: 8 }), (bytes, places) => {
        const body = Buffer.concat([Buffer.from("data:x\n"), Buffer.from(bytes)]);
        const cuts = places.map((place) => place % (body.length + 1));
        expect(split(cut(body, cuts))).toEqual(splitWhole(body));
      }),
      { numRuns: 1000 },
    );
  });
});

describe("the bound on one event", () => {
  const data = (bytes: number): Buffer => Buffer.from(`data: ${"x".repeat(bytes)}\n\n`);

  it("lets an event of that size through, and stops a larger one", () => {
    expect(split([data(100)], 100).events).toHaveLength(1);
    expect(() => split([data(101)], 100)).toThrow(EventTooLarge);
  });

  it("counts the lines of one event together, and not those of several", () => {
    const lines = "data: 1234567890\n".repeat(11);
    expect(() => split([Buffer.from(lines)], 100)).toThrow(EventTooLarge);
    expect(split([Buffer.from(lines.replaceAll("\n", "\n\n"))], 100).events).toHaveLength(11);
  });

  it("stops a line that never ends before it is kept whole", () => {
    const splitter = new Splitter(1000, () => {});
    const endless = (): void => {
      for (let read = 0; read < 100; read++) splitter.push(Buffer.alloc(100, "x"));
    };
    expect(endless).toThrow(EventTooLarge);
  });

  // Work that grew with the square of these sizes would not come to an end within the test's time.
  it("takes one giant line a byte at a time", () => {
    const body = data(2_000_000);
    let length = 0;
    const splitter = new Splitter(AMPLE * 4, (_bytes, start, end) => {
      length = end - start;
    });
    for (let at = 0; at < body.length; at++) splitter.push(body.subarray(at, at + 1));
    expect(length).toBe(2_000_000);
  });

  it("takes one event of very many lines, each in a read of its own", () => {
    let length = 0;
    const splitter = new Splitter(AMPLE * 4, (_bytes, start, end) => {
      length = end - start;
    });
    const read = Buffer.from("data: x\n");
    for (let at = 0; at < 500_000; at++) splitter.push(read);
    splitter.push(Buffer.from("\n"));
    expect(length).toBe(999_999);
  });
});
