import { describe, expect, it } from "vitest";
import { chatMessages, continuedMessage, takeApart } from "../../src/dialect/ui-request.ts";

const user = (...parts: object[]): object => ({ id: "u", role: "user", parts });
const assistant = (...parts: object[]): object => ({ id: "a", role: "assistant", parts });
const text = (value: string): object => ({ type: "text", text: value });
const STEP = { type: "step-start" };

describe("messages", () => {
  it.each([
    [
      "of a system",
      { role: "system", parts: [text("Be "), text("kind.")] },
      { role: "system", content: "Be kind." },
    ],
    ["of a user", user(text("hello"), { type: "data-note", data: 1 }), { role: "user", content: "hello" }],
    [
      "of an assistant, less its reasoning",
      assistant(STEP, { type: "reasoning", text: "hm" }, text("So."), { type: "source-url" }),
      { role: "assistant", content: "So." },
    ],
  ])("%s", (_of, message, told) => {
    expect(chatMessages([message])).toEqual([told]);
  });

  it("with files keep the order of their parts", () => {
    const message = user(
      text("See"),
      { type: "file", mediaType: "image/png", url: "https://example.org/a.png" },
      { type: "file", mediaType: "image/jpeg", url: "data:image/jpeg;base64,AA==" },
      {
        type: "file",
        mediaType: "application/pdf",
        filename: "a.pdf",
        url: "data:application/pdf;base64,AA==",
      },
    );
    expect(chatMessages([message])).toEqual([
      {
        role: "user",
        content: [
          { type: "text", text: "See" },
          { type: "image_url", image_url: { url: "https://example.org/a.png" } },
          { type: "image_url", image_url: { url: "data:image/jpeg;base64,AA==" } },
          { type: "file", file: { filename: "a.pdf", file_data: "data:application/pdf;base64,AA==" } },
        ],
      },
    ]);
  });

  it("of several steps are a message for each, with what the tools answered", () => {
    const message = assistant(
      STEP,
      text("Let me see."),
      {
        type: "tool-gate",
        toolCallId: "1",
        state: "output-available",
        input: { open: true },
        output: { ok: 1 },
      },
      {
        type: "dynamic-tool",
        toolName: "weir",
        toolCallId: "2",
        state: "output-error",
        rawInput: "x",
        errorText: "stuck",
      },
      {
        type: "tool-lock",
        toolCallId: "3",
        state: "output-denied",
        input: {},
        approval: { reason: "too late" },
      },
      STEP,
      text("Done."),
    );
    const called = (id: string, name: string, args: unknown): object => ({
      id,
      type: "function",
      function: { name, arguments: JSON.stringify(args) },
    });
    expect(chatMessages([message])).toEqual([
      {
        role: "assistant",
        content: "Let me see.",
        tool_calls: [called("1", "gate", { open: true }), called("2", "weir", "x"), called("3", "lock", {})],
      },
      { role: "tool", tool_call_id: "1", content: '{"ok":1}' },
      { role: "tool", tool_call_id: "2", content: "stuck" },
      { role: "tool", tool_call_id: "3", content: "too late" },
      { role: "assistant", content: "Done." },
    ]);
  });

  it("leave out calls without a result, and what is empty then", () => {
    const open = ["input-streaming", "input-available", "approval-requested"].map((state) => ({
      type: "tool-gate",
      toolCallId: state,
      state,
      input: {},
    }));
    expect(chatMessages([assistant(STEP, ...open), user(text("hello"))])).toEqual([
      { role: "user", content: "hello" },
    ]);
  });

  it.each([
    ["messages[0].parts", "hello"],
    ["messages[0].parts", { role: "user", content: "hello" }],
    ["messages[0].role", { role: "tool", parts: [] }],
    ["messages[0].parts[0].url", user({ type: "file", mediaType: "image/png" })],
    ["messages[0].parts[0].mediaType", user({ type: "file", url: "data:," })],
    [
      "messages[0].parts[0].url",
      user({ type: "file", mediaType: "text/csv", url: "https://example.org/a.csv" }),
    ],
  ])("that have no form are refused by name: %s", (param, message) => {
    expect(() => chatMessages([message])).toThrow(expect.objectContaining({ name: "UiMessageError", param }));
  });
});

it("the body is taken apart: what the SDK adds does not reach the upstream", () => {
  const body = {
    id: "c",
    messages: [],
    trigger: "submit-message",
    messageId: "m",
    model: "x",
    temperature: 0,
  };
  expect(takeApart(body)).toEqual({ id: "c", messages: [], body: { model: "x", temperature: 0 } });
});

it("an answer goes on with the assistant's message where that is the last", () => {
  expect(continuedMessage([user(text("x")), assistant(text("y"))])).toBe("a");
  expect(continuedMessage([assistant(text("y")), user(text("x"))])).toBeUndefined();
  expect(continuedMessage([])).toBeUndefined();
});
