/** The soak's clients over HTTP. Each comes back with what it saw last: one ending, or that it left by itself. */
import { SseClient } from "../sse-client.ts";
import type { Plan } from "./plans.ts";

export interface Soaked {
  readonly url: string;
  readonly wsUrl: string;
  /** Creating requests that have left; the gateway must count as many. */
  sent: number;
  /** Resolves once an upstream has seen the request of that name. */
  seen(name: string): Promise<void>;
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const CHAT = "/v1/chat/completions";
const LOOK_MS = 2;

const createdBy = (
  at: Soaked,
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): SseClient => {
  at.sent++;
  return new SseClient(at.url + path, { method: "POST", body, headers });
};

export async function stock(at: Soaked, plan: Plan): Promise<string> {
  const { conduct, request, name } = plan;
  const key: Record<string, string> = conduct === "twice" ? { "idempotency-key": name } : {};
  const ask = (): SseClient => createdBy(at, CHAT, { ...request, stream: true }, key);
  if (conduct === "twice") {
    const both = await Promise.all([follow(at, plan, ask()), follow(at, plan, ask())]);
    return both.join(" and ");
  }
  return follow(at, plan, ask());
}

/** A stream of the stock wire, to its end or as long as the plan has it. */
async function follow(at: Soaked, plan: Plan, client: SseClient): Promise<string> {
  // Headers leave early here, so whoever leaves has been accepted before.
  const { status, headers } = await client.head;
  if (status === 200 && (await act(at, plan, client, headers["x-generation-id"]?.toString()))) return "left";
  const ending = await client.ended;
  if (status !== 200) return errorIn(client.text, status);
  const dones = client.events.filter(({ data }) => data === "[DONE]").length;
  const errors = client.payloads.filter((payload) => payload.startsWith(`{"error"`));
  if (ending !== "closed" || dones + errors.length !== 1) {
    throw new Error(`${plan.name}: ${ending} after ${dones} [DONE] and ${errors.length} errors`);
  }
  return dones === 1 ? "[DONE]" : errorIn(errors[0] ?? "", 0);
}

/** Does what the plan has it do in mid-stream. @returns whether it has left */
async function act(at: Soaked, plan: Plan, client: SseClient, generation = ""): Promise<boolean> {
  const { conduct, after, forMs } = plan;
  if (conduct === "stays" || conduct === "twice") return false;
  await eventsFrom(client, after);
  if (conduct === "cancels") {
    await ask(at, `/v1/generations/${generation}/cancel`);
    return false;
  }
  if (conduct === "stalls") {
    client.pause();
    await pause(forMs);
  }
  client.destroy();
  return true;
}

/** Waits for so many events, or the end. */
async function eventsFrom(client: SseClient, count: number): Promise<void> {
  let isOver = false;
  void client.ended.then(() => {
    isOver = true;
  });
  while (client.events.length < count && !isOver) await pause(LOOK_MS);
}

export async function whole(at: Soaked, { conduct, request, name }: Plan): Promise<string> {
  const client = createdBy(at, CHAT, request);
  if (conduct === "leaves") {
    await Promise.race([client.head, at.seen(name)]);
    client.destroy();
    return "left";
  }
  const { status } = await client.head;
  if ((await client.ended) !== "closed") throw new Error(`${name}: the answer broke off`);
  return status === 200 ? "200" : errorIn(client.text, status);
}

/** Starts without reading, then follows on `/events`; some vanish and come back to where they were. */
export async function events(at: Soaked, plan: Plan): Promise<string> {
  const { conduct, request, name, forMs } = plan;
  const created = createdBy(at, "/v1/generations", { request });
  const { status } = await created.head;
  await created.ended;
  if (status !== 201) return errorIn(created.text, status);
  const { id } = JSON.parse(created.text) as { id: string };
  const url = `${at.url}/v1/generations/${id}/events`;
  const first = new SseClient(url);
  await first.head;
  const hasLeft = await act(at, plan, first, id);
  if (!hasLeft) return endIn(name, first);
  if (conduct !== "returns") return "left";
  await pause(forMs);
  const second = new SseClient(url, { headers: { "last-event-id": first.lastId ?? "0" } });
  const again = await second.head;
  // The ending had been seen, or what was there has been forgotten meanwhile.
  if (again.status !== 200) return `came back to ${again.status}`;
  return endIn(name, second);
}

async function endIn(name: string, client: SseClient): Promise<string> {
  const { status } = await client.head;
  const ending = await client.ended;
  if (status !== 200) return `too late, ${status}`;
  const ends = client.events.filter(({ event }) => event === "end");
  if (ending !== "closed" || ends.length !== 1)
    throw new Error(`${name}: ${ending} after ${ends.length} ends`);
  return endingOf(JSON.parse(ends[0]?.data ?? "") as End);
}

export interface End {
  readonly status?: string | undefined;
  readonly error?: { readonly code: string } | undefined;
}

export const endingOf = ({ status, error }: End): string =>
  error === undefined || status === "cancelled" ? String(status) : `${status} ${error.code}`;

function errorIn(text: string, status: number): string {
  const { error } = JSON.parse(text) as { error: { code: string | null; type: string } };
  return `${status === 0 ? "then" : status} ${error.code ?? error.type}`;
}

async function ask(at: Soaked, path: string): Promise<void> {
  await new SseClient(at.url + path, { method: "POST", body: {} }).ended;
}
