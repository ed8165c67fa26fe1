/** Mixed traffic for what shows a gateway at work: readers of every transport, resumes, leavers, and some faults. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Script } from "../../src/emulator/index.ts";
import { SseClient } from "./sse-client.ts";
import { WsClient } from "./ws-client.ts";

export interface Target {
  readonly url: string;
  readonly wsUrl: string;
}

type Way = (target: Target, script: Script) => Promise<void>;

const bodyOf = (emulator: Script, more: object = {}): object => ({
  messages: [{ role: "user", content: "Tell me of locks." }],
  emulator,
  ...more,
});
const CHAT = "/v1/chat/completions";

const stream: Way = async ({ url }, script) => {
  const client = new SseClient(url + CHAT, { method: "POST", body: bodyOf(script, { stream: true }) });
  await client.ended;
};

const whole: Way = async ({ url }, script) => {
  const client = new SseClient(url + CHAT, { method: "POST", body: bodyOf(script) });
  await client.ended;
};

const socket: Way = async ({ wsUrl }, script) => {
  const client = await WsClient.open(wsUrl);
  client.send({ type: "generate", id: "one", request: bodyOf(script) });
  await client.next(({ type }) => type === "end" || type === "error");
  await client.close();
};

const leave: Way = async ({ url }, script) => {
  const client = new SseClient(url + CHAT, { method: "POST", body: bodyOf(script, { stream: true }) });
  await sleep(800);
  client.destroy();
};

const resume: Way = async ({ url }, script) => {
  const made = await fetch(`${url}/v1/generations`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ request: bodyOf(script) }),
  });
  const events = (await made.json()) as { events_url?: string };
  if (events.events_url === undefined) return;
  const first = new SseClient(new URL(events.events_url, url).href);
  await sleep(900);
  first.destroy();
  const headers = first.lastId === undefined ? {} : { "last-event-id": first.lastId };
  await new SseClient(new URL(events.events_url, url).href, { headers }).ended;
};

const fail: Way = (target, script) => stream(target, { ...script, fault: { kind: "status", status: 500 } });

const invalid: Way = async ({ url }) => {
  await new SseClient(url + CHAT, { method: "POST", body: { messages: 1, stream: true, model: 7 } }).ended;
};

/** Each way, as often as it stands here. */
const WAYS: readonly Way[] = [
  ...Array<Way>(22).fill(stream),
  ...Array<Way>(9).fill(socket),
  ...Array<Way>(4).fill(resume),
  ...Array<Way>(3).fill(whole),
  ...Array<Way>(3).fill(leave),
  fail,
  invalid,
];

const between = (from: number, to: number): number => Math.round(from + Math.random() * (to - from));

const scriptNow = (): Script => ({
  first_token_ms: between(90, 260) * (Math.random() < 0.08 ? 4 : 1),
  pace_ms: between(14, 30),
  jitter_ms: 12,
  tokens: between(40, 220),
});

/** How often it is looked whether somebody else should come. Milliseconds. */
const LOOK_MS = 100;

/**
 * Keeps so many clients at the gateway as `wanted` says, until it is over; resolves when the last has gone.
 * @param wanted told the seconds since the start
 */
export async function runTraffic(
  target: Target,
  over: AbortSignal,
  wanted: (second: number) => number,
): Promise<void> {
  const from = performance.now();
  const here = new Set<Promise<void>>();
  while (!over.aborted) {
    const second = (performance.now() - from) / 1000;
    for (let n = here.size; n < wanted(second); n++) {
      const way = WAYS[Math.floor(Math.random() * WAYS.length)] as Way;
      const client: Promise<void> = way(target, scriptNow()).finally(() => here.delete(client));
      here.add(client);
    }
    await sleep(LOOK_MS);
  }
  await Promise.all(here);
}
