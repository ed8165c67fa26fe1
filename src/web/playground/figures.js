/** What is said of an answer, from its record. */
import { isDown, isOver } from "./record.js";

/** @typedef {import("./record.js").Answer} Answer */
/** @typedef {import("./record.js").Mark} Mark */

export const NONE = "–";
export const LABELS = { sse: "SSE", websocket: "WebSocket" };

/** @param {number | null | undefined} ms */
export function inWords(ms) {
  if (ms === null || ms === undefined) return NONE;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

/** @param {Answer} record */
export function statusOf(record) {
  if (record.status === "locked") return "waiting for a key";
  if (isDown(record) && !isOver(record) && record.status !== "stopping") return "reconnecting";
  if (record.status === "waiting") return "waiting for the first token";
  return record.status;
}

/** For colours: what kind of state it is. @param {Answer} record */
export function kindOf(record) {
  const { status } = record;
  if (status === "completed" || status === "incomplete") return "done";
  if (status === "failed" || status === "cancelled") return status;
  if (isDown(record)) return "cut";
  return status === "running" ? "running" : "waiting";
}

/** Content events a second, from the first to the latest. @param {Answer} record */
export function rateOf({ tokens, firstAt, latestAt }) {
  const span = firstAt === null || latestAt === null ? 0 : latestAt - firstAt;
  return span > 0 ? (((tokens - 1) * 1000) / span).toFixed(1) : NONE;
}

/** @param {Answer} record */
export function queueOf({ position, queueMs, timing }) {
  if (position > 0) return `${position}`;
  const ms = timing?.queue_ms ?? queueMs;
  return ms >= 1 ? inWords(ms) : "none";
}

/** @param {readonly number[]} values */
export function quantile(values, share) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}

const WHY = { cut: "Cut", lost: "Lost", reload: "Page reloaded" };

/** @param {Mark} mark */
export function markInWords({ why, seq, before, over, afterMs, next }) {
  const from = why !== "reload" && before ? ` on ${LABELS[before]}` : "";
  const where = seq > 0 ? `after seq ${seq}` : "before the first event";
  const head = `${WHY[why]} ${where}${from}`;
  if (over === undefined) return `${head}; the line is down`;
  const back = why === "reload" ? `over ${LABELS[over]}` : `over ${LABELS[over]} ${inWords(afterMs)} later`;
  return next === undefined ? `${head}; back ${back}` : `${head}; went on at seq ${next} ${back}`;
}

/** @param {Answer} record @returns {{label: string, hint: string, name: string, text: string}[]} in the order in which they are shown */
export function figuresOf(record) {
  const { timing, ttftMs, events, transport, reconnects, position, usage } = record;
  const gateway = timing?.ttft_ms === undefined ? "" : ` The gateway's own: ${inWords(timing.ttft_ms)}.`;
  const told = usage?.completion_tokens ? ` By usage: ${usage.completion_tokens} tokens.` : "";
  return [
    ["ttft", "TTFT", `Time to the first token, from Send.${gateway}`, inWords(ttftMs)],
    ["rate", "Tokens/s", `Events with content a second, first to last.${told}`, rateOf(record)],
    [
      "queue",
      position > 0 ? "In queue" : "Queue wait",
      "Place in the queue, 1 being next; then how long it waited",
      queueOf(record),
    ],
    ["events", "Events", "Events of this generation that came here", String(events)],
    ["transport", "Transport", "What it is, or was last, read over", LABELS[transport] ?? NONE],
    ["reconnects", "Reconnects", "How often the line was made again", String(reconnects)],
  ].map(([name = "", label = "", hint = "", text = ""]) => ({ name, label, hint, text }));
}
