import { describe, expect, it } from "vitest";
import { Fault } from "../../src/core/errors.ts";
import type { Generation } from "../../src/core/generation.ts";
import type { Ending } from "../../src/core/ports.ts";
import { Chats } from "../../src/routes/ui-chats.ts";
import { uiMessageStream } from "../../src/routes/ui-stream.ts";
import { appendTo, ending, newGeneration } from "../support/core.ts";

const chunk = (delta: object, finish_reason: string | null = null): string =>
  JSON.stringify({ choices: [{ index: 0, delta, finish_reason }] });
const call = (index: number, id: string | undefined, args: string): string =>
  chunk({ tool_calls: [{ index, id, function: { ...(id && { name: "gate" }), arguments: args } }] });
const PAYLOADS = [
  chunk({ role: "assistant", content: "" }),
  chunk({ reasoning_content: "hm é😀" }),
  chunk({ content: "line\nline" }),
  call(0, "a", '{"op'),
  call(1, "b", "{}"),
  call(0, undefined, 'en":1}'),
  chunk({ content: "so" }),
  chunk({}, "tool_calls"),
];

function generationOf(payloads: readonly string[]): Generation {
  const { generation } = newGeneration();
  for (const payload of payloads) appendTo(generation.log, payload);
  generation.log.publish();
  return generation;
}

/** What a reader is sent that reads up to each of `stops` in turn, and then the ending. */
function read(generation: Generation, stops: readonly number[], end: Partial<Ending> = {}): string {
  const encoding = uiMessageStream("msg");
  let after = 0;
  const bytes = stops.map((last) => {
    const chunk = encoding.events(generation, after, last).bytes.toString();
    after = last;
    return chunk;
  });
  return bytes.join("") + encoding.ending(generation, ending(end), generation.log.head + 1)?.toString();
}

const partsOf = (stream: string): unknown[] =>
  [...stream.matchAll(/^data: (\{.*\})\n\n/gm)].map(([, json]) => JSON.parse(json as string));

describe("the UI message stream", () => {
  const generation = generationOf(PAYLOADS);
  const all = PAYLOADS.length;
  const uncut = read(generation, [all]);

  it("begins with the message and ends with its finish", () => {
    const parts = partsOf(uncut);
    expect(parts.slice(0, 2)).toEqual([{ type: "start", messageId: "msg" }, { type: "start-step" }]);
    expect(parts.slice(-4)).toEqual([
      { type: "tool-input-available", toolCallId: "a", toolName: "gate", input: { open: 1 } },
      { type: "tool-input-available", toolCallId: "b", toolName: "gate", input: {} },
      { type: "finish-step" },
      { type: "finish", finishReason: "tool-calls" },
    ]);
    expect(uncut.endsWith("\n\ndata: [DONE]\n\n")).toBe(true);
  });

  it("is the same bytes in whatever batches it is read", () => {
    for (let one = 0; one <= all; one++)
      for (let other = one; other <= all; other++)
        expect(read(generation, [one, other, all]), `${one}, ${other}`).toBe(uncut);
  });

  it("is the same for readers that lag behind each other", () => {
    const fresh = generationOf(PAYLOADS);
    const [first, second] = [uiMessageStream("msg"), uiMessageStream("msg")];
    let [ahead, behind] = ["", ""];
    for (let seq = 1; seq <= all; seq++) {
      ahead += first.events(fresh, seq - 1, seq).bytes.toString();
      if (seq % 3 === 0) behind += second.events(fresh, seq - 3, seq).bytes.toString();
    }
    behind += second.events(fresh, all - (all % 3), all).bytes.toString();
    expect([ahead, behind]).toEqual([uncut.slice(0, ahead.length), ahead]);
  });

  it("from any position is the rest of the uncut stream", () => {
    for (let after = 1; after <= all; after++) {
      const rest = uiMessageStream("msg").events(generation, after, all).bytes.toString();
      expect(uncut).toContain(rest);
      const head = uiMessageStream("msg").events(generation, 0, after).bytes.toString();
      expect(uncut.startsWith(head + rest)).toBe(true);
    }
  });

  it("is encoded once for readers that keep up, but for each message id of its own", () => {
    const [one, other, another] = [uiMessageStream("msg"), uiMessageStream("msg"), uiMessageStream("other")];
    const first = one.events(generation, 0, 3);
    expect(other.events(generation, 0, 3)).toBe(first);
    expect(another.events(generation, 0, 3).bytes.toString()).toContain('"messageId":"other"');
    expect(one.events(generation, 3, all).bytes).toEqual(other.events(generation, 3, all).bytes);
  });

  it.each([
    [
      "failed",
      new Fault("upstream_stalled"),
      { type: "error", errorText: new Fault("upstream_stalled").message },
    ],
    ["cancelled", new Fault("cancelled"), { type: "abort", reason: new Fault("cancelled").message }],
  ] as const)("of what %s has no finish, and nothing is closed or called", (status, fault, last) => {
    const parts = partsOf(read(generationOf(PAYLOADS), [all], { status, fault }));
    expect(parts.at(-1)).toEqual(last);
    const types = parts.map((part) => (part as { type: string }).type);
    expect(types.filter((type) => /finish|available/.test(type))).toEqual([]);
  });

  it("of nothing is a message all the same", () => {
    expect(partsOf(read(generationOf([]), []))).toEqual([
      { type: "start", messageId: "msg" },
      { type: "start-step" },
      { type: "finish-step" },
      { type: "finish" },
    ]);
  });
});

describe("chats", () => {
  const answer = (): { generation: Generation; messageId: string } => ({
    generation: newGeneration().generation,
    messageId: "m",
  });

  it("have their latest answer, each owner its own", () => {
    const chats = new Chats();
    const [first, second, other] = [answer(), answer(), answer()];
    chats.keep("alice", "c", first);
    chats.keep("bob", "c", other);
    chats.keep("alice", "c", second);
    expect([chats.latest("alice", "c"), chats.latest("bob", "c")]).toEqual([second, other]);
    expect(chats.latest("carol", "c")).toBeUndefined();
  });

  it("are forgotten with their generation, and not with an earlier one", () => {
    const chats = new Chats();
    const [first, second] = [answer(), answer()];
    chats.keep("alice", "c", first);
    chats.keep("alice", "c", second);
    chats.forget(first.generation);
    expect(chats.latest("alice", "c")).toBe(second);
    chats.forget(second.generation);
    expect(chats.latest("alice", "c")).toBeUndefined();
  });

  it("share no generation: the last that names it has it", () => {
    const chats = new Chats();
    const one = answer();
    chats.keep("alice", "c", one);
    chats.keep("alice", "d", one);
    expect([chats.latest("alice", "c"), chats.latest("alice", "d")]).toEqual([undefined, one]);
  });
});
