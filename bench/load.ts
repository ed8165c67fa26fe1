/** The load of the bench, a process of its own: opens streams as its parent's plan says, and checks and times every event. */
import { setTimeout as sleep } from "node:timers/promises";
import { Lane, type Samples } from "./load/lane.ts";
import type { Order, Plan, Quantiles, Totals, Window } from "./load/plan.ts";
import { SseReader } from "./load/sse.ts";
import { SocketReader } from "./load/websocket.ts";
import { WholeReader } from "./load/whole.ts";
import { nowUs, requestOf } from "./wire.ts";

const LOOK_MS = 5;

const samples: Samples = { event: [], first: [] };
let received = 0;
let lanes: Lane[] = [];
let opened: { readonly socket: { destroy(): unknown } }[] = [];
let isStopped = false;

const count = (events: number): void => {
  received += events;
};

/** Resolves when the last stream has been asked for. */
async function run(plan: Plan): Promise<void> {
  received = 0;
  lanes = [];
  opened = [];
  isStopped = false;
  window();
  const start = performance.now();
  for (let stream = 0; stream < plan.streams && !isStopped; stream++) {
    const due = start + (stream / plan.streams) * plan.rampMs;
    if (due > performance.now()) await sleep(due - performance.now());
    begin(plan, stream);
  }
}

function begin(plan: Plan, stream: number): void {
  const isStuck = stream < (plan.stuck?.streams ?? 0);
  const events = eventsOf(plan, stream);
  const own = isStuck ? { ...plan, events: plan.stuck?.events ?? 0, pace: 0 } : { ...plan, events };
  const lane = new Lane(events, samples);
  if (!isStuck) lanes.push(lane);
  const isSocket = plan.wire === "ws" || plan.wire === "ws-read";
  const reader = isSocket ? readSocket(own, stream, lane) : readHttp(own, stream, lane);
  if (isStuck) reader.socket.pause();
}

function eventsOf({ events, endsTogether, streams, pace, rampMs }: Plan, stream: number): number {
  const startsMs = endsTogether === true ? (stream / streams) * rampMs : 0;
  return events - Math.floor((pace * startsMs) / 1000);
}

function readHttp(plan: Plan, stream: number, lane: Lane): SseReader | WholeReader {
  const { host, port, path, wire } = plan;
  const body = wire === "read" ? "" : JSON.stringify(requestOf({ ...plan, stream }, wire === "sse"));
  const extra = Object.entries(plan.headers ?? {}).map(([name, value]) => `${name}: ${value}\r\n`);
  const typed = body === "" ? "" : `content-type: application/json\r\ncontent-length: ${body.length}\r\n`;
  const accept = wire === "json" ? "application/json\r\nconnection: close" : "text/event-stream";
  const text = `${body === "" ? "GET" : "POST"} ${path} HTTP/1.1\r\nhost: ${host}:${port}\r\naccept: ${accept}\r\n${extra.join("")}${typed}\r\n${body}`;
  const reader =
    wire === "json"
      ? new WholeReader({ host, port, text }, lane, count)
      : new SseReader({ host, port, text }, lane, count);
  opened.push(reader);
  return reader;
}

let shared: SocketReader | undefined;

function readSocket(plan: Plan, stream: number, lane: Lane): SocketReader {
  if (stream % plan.perConnection === 0 || shared === undefined) {
    opened.push((shared = new SocketReader(plan, count)));
  }
  const connection = shared;
  const isNew = plan.wire === "ws";
  const message = isNew
    ? { type: "generate", request: requestOf({ ...plan, stream }) }
    : { type: "subscribe", generation: plan.generation };
  // The marks of one generation's events all bear the number of the stream that began it.
  void connection.ready.then(() => connection.ask(isNew ? stream : 0, lane, message));
  return connection;
}

/** What came since it was last called. */
function window(): Window {
  const taken = { received, atUs: nowUs(), event: quantiles(samples.event), first: quantiles(samples.first) };
  samples.event.length = 0;
  samples.first.length = 0;
  return taken;
}

function quantiles(us: readonly number[]): Quantiles {
  const sorted = Float64Array.from(us).sort();
  const at = (share: number): number =>
    sorted.length === 0
      ? 0
      : (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] as number) / 1000;
  return { count: sorted.length, p50: at(0.5), p99: at(0.99), p999: at(0.999) };
}

/** Waits for the streams' ends, and closes what is still open then. */
async function finish(withinMs: number): Promise<Totals> {
  const deadline = performance.now() + withinMs;
  while (lanes.some(({ hasEnded }) => !hasEnded) && performance.now() < deadline) await sleep(LOOK_MS);
  isStopped = true;
  for (const lane of lanes) lane.ended("it did not end in time");
  for (const { socket } of opened) socket.destroy();
  const sum = (of: (lane: Lane) => number): number => lanes.reduce((total, lane) => total + of(lane), 0);
  const failed = lanes.filter(({ fault }) => fault !== undefined);
  const fault = failed[0]?.fault;
  return {
    streams: lanes.length,
    received,
    lost: sum(({ lost }) => lost),
    reordered: sum(({ reordered }) => reordered),
    duplicated: sum(({ duplicated }) => duplicated),
    strange: sum(({ strange }) => strange),
    failed: failed.length,
    took: quantiles(lanes.filter(({ fault }) => fault === undefined).map(({ tookUs }) => tookUs)),
    ...(fault === undefined ? {} : { fault: fault.slice(0, 300) }),
  };
}

async function obey(order: Order): Promise<unknown> {
  if (order.do === "run") {
    void run(order.plan);
    return null;
  }
  return order.do === "window" ? window() : await finish(order.withinMs);
}

process.on("message", (order: Order) => {
  void obey(order).then((answer) => process.send?.({ answer }));
});
process.on("disconnect", () => process.exit(0));
process.send?.({ ready: true });
