import { describe, expect, it } from "vitest";
import { type UiPart, UiTranslator } from "../../src/dialect/ui-message.ts";

const chunk = (delta: object, finish_reason: string | null = null, index = 0): string =>
  JSON.stringify({ id: "c", choices: [{ index, delta, finish_reason }] });
const call = (index: unknown, id: string | undefined, name: string | undefined, args?: unknown): string =>
  chunk({ tool_calls: [{ index, id, function: { name, arguments: args } }] });

/** What the payloads become, and what closes the message. */
function translated(...payloads: string[]): { parts: UiPart[]; closing: UiPart[] } {
  const translator = new UiTranslator("gen_x");
  const parts = payloads.flatMap((payload) => translator.payload(payload));
  const inputOf = (id: string): string =>
    parts
      .filter(({ type, toolCallId }) => type === "tool-input-delta" && toolCallId === id)
      .map(({ inputTextDelta }) => inputTextDelta)
      .join("");
  return { parts, closing: translator.ended(inputOf) };
}

const brief = (parts: readonly UiPart[]): string[] =>
  parts.map(({ type, id, toolCallId, delta, inputTextDelta }) =>
    [type, id ?? toolCallId, delta ?? inputTextDelta].filter((value) => value !== undefined).join(" "),
  );

describe("text and reasoning", () => {
  it("are parts of their own, each closed before the next begins", () => {
    const { parts, closing } = translated(
      chunk({ role: "assistant", content: "" }),
      chunk({ reasoning_content: "hm" }),
      chunk({ reasoning: "m" }),
      chunk({ content: "So" }),
      chunk({ content: "!" }),
      chunk({ reasoning_content: "wait" }),
      chunk({ content: "No" }),
      chunk({}, "stop"),
    );
    expect(brief(parts)).toEqual([
      "reasoning-start reasoning-1",
      "reasoning-delta reasoning-1 hm",
      "reasoning-delta reasoning-1 m",
      "reasoning-end reasoning-1",
      "text-start text-2",
      "text-delta text-2 So",
      "text-delta text-2 !",
      "text-end text-2",
      "reasoning-start reasoning-3",
      "reasoning-delta reasoning-3 wait",
      "reasoning-end reasoning-3",
      "text-start text-4",
      "text-delta text-4 No",
    ]);
    expect(closing).toEqual([
      { type: "text-end", id: "text-4" },
      { type: "finish-step" },
      { type: "finish", finishReason: "stop" },
    ]);
  });

  it("may come in one delta, in parts, and as a refusal", () => {
    const { parts } = translated(
      chunk({ reasoning_content: "a", reasoning: "a", content: "b" }),
      chunk({ content: [{ type: "thinking", thinking: [{ type: "text", text: "c" }] }] }),
      chunk({ content: [{ type: "text", text: "d" }, { type: "image_url" }] }),
      chunk({ content: null, refusal: "e" }),
    );
    expect(brief(parts).filter((part) => part.includes("delta"))).toEqual([
      "reasoning-delta reasoning-1 a",
      "text-delta text-2 b",
      "reasoning-delta reasoning-3 c",
      "text-delta text-4 d",
      "text-delta text-4 e",
    ]);
  });

  it("are those of the first choice, wherever it stands", () => {
    const both = { choices: [{ index: 1, delta: { content: "no" } }, { delta: { content: "yes" } }] };
    const { parts, closing } = translated(JSON.stringify(both), chunk({}, "length", 1), chunk({}, "stop", 0));
    expect(brief(parts)).toEqual(["text-start text-1", "text-delta text-1 yes"]);
    expect(closing.at(-1)).toEqual({ type: "finish", finishReason: "stop" });
  });

  it.each(["{}", "null", "[]", '{"choices":null}', '{"choices":[null,1]}', '{"choices":[],"usage":{}}'])(
    "have nothing of %s",
    (payload) => {
      expect(translated(payload).parts).toEqual([]);
    },
  );
});

describe("tool calls", () => {
  it("come in fragments, interleaved, and are whole at the end", () => {
    const { parts, closing } = translated(
      chunk({ content: "Let me see." }),
      call(0, "a", "gate", ""),
      call(0, undefined, undefined, '{"op'),
      call(1, "b", "weir", '{"level":'),
      call(0, undefined, undefined, 'en":true}'),
      call(1, "", "", "2}"),
      chunk({}, "tool_calls"),
    );
    expect(brief(parts).slice(2)).toEqual([
      "text-end text-1",
      "tool-input-start a",
      'tool-input-delta a {"op',
      "tool-input-start b",
      'tool-input-delta b {"level":',
      'tool-input-delta a en":true}',
      "tool-input-delta b 2}",
    ]);
    expect(closing).toEqual([
      { type: "tool-input-available", toolCallId: "a", toolName: "gate", input: { open: true } },
      { type: "tool-input-available", toolCallId: "b", toolName: "weir", input: { level: 2 } },
      { type: "finish-step" },
      { type: "finish", finishReason: "tool-calls" },
    ]);
  });

  it("of a tool without parameters have an empty input", () => {
    expect(translated(call(0, "a", "gate")).closing[0]).toMatchObject({
      type: "tool-input-available",
      input: {},
    });
  });

  it("that a limit has cut are no calls to run", () => {
    const { closing } = translated(call(0, "a", "gate", '{"op'), chunk({}, "length"));
    expect(closing).toMatchObject([
      { type: "tool-input-error", toolCallId: "a", toolName: "gate", input: '{"op' },
      { type: "finish-step" },
      { type: "finish", finishReason: "length" },
    ]);
  });

  it.each([
    ["without index, whole", [call(undefined, "a", "x", "{}"), call(undefined, "b", "y", "{}")], ["a", "b"]],
    ["without index, in fragments", [call(undefined, "a", "x", "{"), call(undefined, "a", "x", "}")], ["a"]],
    [
      "of which fragments have no name",
      [call(null, "a", "x", "{"), call(null, undefined, undefined, "}")],
      ["a"],
    ],
    ["all with the index 0", [call(0, "a", "x", "{}"), call(0, "b", "y", "{}")], ["a", "b"]],
    ["with empty ids", [call(0, "", "x", "{}"), call(1, "", "y", "{}")], ["call_gen_x_0", "call_gen_x_1"]],
    ["with an object for arguments", [call(0, "a", "x", {})], ["a"]],
    [
      "as a function_call",
      [chunk({ function_call: { name: "x", arguments: "{" } }), chunk({ function_call: { arguments: "}" } })],
      ["call_gen_x_0"],
    ],
  ])("%s", (_form, payloads, ids) => {
    const { closing } = translated(...payloads);
    const calls = closing.filter(({ type }) => type === "tool-input-available");
    expect(calls.map(({ toolCallId, input }) => [toolCallId, input])).toEqual(ids.map((id) => [id, {}]));
  });

  it("of which only arguments come are none", () => {
    expect(translated(call(3, "a", undefined, "{}")).parts).toEqual([]);
  });
});

it.each([
  ["content_filter", "content-filter"],
  ["function_call", "tool-calls"],
  ["eos", "other"],
])("the finish reason %s is %s", (told, reason) => {
  expect(translated(chunk({ content: "x" }, told)).closing.at(-1)).toEqual({
    type: "finish",
    finishReason: reason,
  });
});

it("no finish reason is invented", () => {
  expect(translated(chunk({ content: "x" })).closing.at(-1)).toEqual({ type: "finish" });
});

it("a state can be taken up again anywhere, and does not change behind its owner", () => {
  const payloads = [
    chunk({ content: "a" }),
    call(0, "a", "x", "{"),
    call(0, undefined, undefined, "}"),
    chunk({ content: "b" }),
  ];
  const whole = translated(...payloads);
  for (let cut = 0; cut <= payloads.length; cut++) {
    const first = new UiTranslator("gen_x");
    const head = payloads.slice(0, cut).flatMap((payload) => first.payload(payload));
    const { state } = first;
    const kept = structuredClone(state);
    const second = new UiTranslator("gen_x", state);
    const tail = payloads.slice(cut).flatMap((payload) => second.payload(payload));
    expect([...head, ...tail]).toEqual(whole.parts);
    expect(second.ended(() => "{}")).toEqual(whole.closing);
    expect(state).toEqual(kept);
  }
});
