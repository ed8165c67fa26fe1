/** What is kept of an answer: plain data, which a reload finds again. Times are milliseconds; moments are of the wall clock. */
import { textOf } from "../client.js";

/** @typedef {import("../client/types.ts").Chunk} Chunk */
/** @typedef {"auto" | "sse" | "websocket"} Wanted */
/**
 * A place where the line was cut or lost.
 * @typedef {object} Mark
 * @property {"cut" | "lost" | "reload"} why
 * @property {number} seq the last event before it
 * @property {number} at when
 * @property {string} before the transport that was
 * @property {string} [over] the transport that it went on with
 * @property {number} [afterMs] when that was there
 * @property {number} [next] the first event after it
 * @property {number} [offset] how much text had come
 */
/** @typedef {{index: number | string, name: string, args: string}} ToolCall */

const ENDINGS = ["completed", "incomplete", "failed", "cancelled"];
/** What makes an event one with content (PROTOCOL.md, section 2). */
const CONTENT = [
  ...["content", "reasoning", "reasoning_content", "refusal"],
  ...["tool_calls", "function_call", "audio"],
];
/** So many gaps are kept; of a longer answer the latest. */
const MOST_GAPS = 600;

/** @param {{request?: object, system?: string, asked: Wanted, key?: string, generation?: string}} start */
export const newRecord = ({ request, system = "", asked, key, generation = "" }) => ({
  role: "assistant",
  request,
  system,
  asked,
  key,
  generation,
  status: "connecting",
  sentAt: Date.now(),
  text: "",
  reasoning: "",
  /** @type {ToolCall[]} */
  tools: [],
  seq: 0,
  events: 0,
  tokens: 0,
  transport: "",
  reconnects: 0,
  position: 0,
  /** @type {number | null} */
  queuedAt: null,
  queueMs: 0,
  /** @type {number | null} */
  firstAt: null,
  /** @type {number | null} */
  latestAt: null,
  /** @type {number | null} as seen from here; null where the beginning was not */
  ttftMs: null,
  /** @type {number[]} */
  gaps: [],
  /** The index of the gap in which each mark lies. @type {number[]} */
  torn: [],
  /** @type {Mark[]} */
  marks: [],
  /** @type {{code: string, message: string} | null} */
  error: null,
  /** @type {Readonly<Record<string, number>> | null} the gateway's figures */
  timing: null,
  /** @type {Readonly<Record<string, unknown>> | null} */
  usage: null,
});

/** @typedef {ReturnType<typeof newRecord>} Answer */

/** @param {Answer} record */
export const isOver = ({ status }) => ENDINGS.includes(status);

/** Asks for nothing of it any more, and did not end well. @param {Answer} record */
export const isBroken = ({ status }) => status === "failed" || status === "cancelled";

/** Takes one event. @param {Answer} record @param {number} seq @param {Chunk} data */
export function takeEvent(record, seq, data, now = Date.now()) {
  record.seq = seq;
  record.events++;
  leaveQueue(record, now);
  closeMark(record, seq);
  // Whatever an upstream sent is here: what is no choice is left out.
  const choices = Array.isArray(data?.choices)
    ? data.choices.filter((choice) => Object(choice) === choice)
    : [];
  if (choices.some(hasContent)) countToken(record, now);
  const delta = choices.find((choice) => !choice.index)?.delta ?? {};
  record.text += textOf({ choices }) || asText(delta.refusal);
  record.reasoning += asText(delta.reasoning_content) || asText(delta.reasoning);
  if (Array.isArray(delta.tool_calls)) for (const call of delta.tool_calls) takeCall(record.tools, call);
  if (delta.function_call) takeCall(record.tools, { index: "function", function: delta.function_call });
  if (record.status !== "stopping" && record.tokens > 0) record.status = "running";
}

/** @param {Answer} record */
export function leaveQueue(record, now = Date.now()) {
  if (record.queuedAt === null) return;
  record.queueMs += now - record.queuedAt;
  record.queuedAt = null;
  record.position = 0;
}

/** @param {Answer} record @param {number} position */
export function enterQueue(record, position, now = Date.now()) {
  record.queuedAt ??= now;
  record.position = position;
  record.status = "queued";
}

/** The mark after which nothing has come yet. @param {Answer} record */
export const openMark = ({ marks }) => (marks.at(-1)?.next === undefined ? marks.at(-1) : undefined);

/** Whether there is no line now, though there was one. @param {Answer} record */
export const isDown = (record) => {
  const mark = openMark(record);
  return mark !== undefined && mark.over === undefined;
};

/** @param {Answer} record @param {Mark["why"]} why @param {number} seq the last event that the reader has */
export function tear(record, why, seq) {
  // The line is down already: it is the same wound.
  if (isDown(record)) return;
  record.marks.push({ why, seq, at: Date.now(), before: record.transport });
}

function closeMark(record, seq) {
  for (const mark of record.marks.filter(({ next }) => next === undefined)) {
    mark.next = seq;
    mark.offset = record.text.length;
    record.torn.push(record.gaps.length);
  }
}

function countToken(record, now) {
  record.tokens++;
  if (record.firstAt === null) {
    record.firstAt = now;
    if (record.request !== undefined) record.ttftMs = now - record.sentAt;
  } else record.gaps.push(now - record.latestAt);
  record.latestAt = now;
  if (record.gaps.length <= MOST_GAPS) return;
  record.gaps.shift();
  record.torn = record.torn.map((at) => at - 1).filter((at) => at >= 0);
}

/** `0` and `""` are no content; an object (audio, function_call) is. */
const hasContent = (choice) =>
  CONTENT.some((name) => choice.delta?.[name] && choice.delta[name].length !== 0) || Boolean(choice.text);

/** A string, or parts of which some are text. */
function asText(value) {
  if (typeof value === "string") return value;
  return Array.isArray(value) ? value.map((each) => asText(each?.text)).join("") : "";
}

/** Some upstreams leave the index out: then an id begins another call. */
function takeCall(tools, call) {
  const index = call?.index ?? (call?.id === undefined ? tools.at(-1)?.index : `id ${call.id}`) ?? 0;
  let tool = tools.find((each) => each.index === index);
  if (tool === undefined) tools.push((tool = { index, name: "", args: "" }));
  tool.name ||= asText(call?.function?.name);
  const { arguments: args } = call?.function ?? {};
  tool.args += typeof args === "object" && args !== null ? JSON.stringify(args) : asText(args);
}
