import { setTimeout as sleep } from "node:timers/promises";
import type { Running } from "./subjects/subject.ts";
import { type Ask, requestOf } from "./wire.ts";

const LOOK_MS = 20;

/** Starts a generation that nobody reads yet. @returns its id */
export async function newGeneration({ host, port }: Running, ask: Ask): Promise<string> {
  const answer = await fetch(`http://${host}:${port}/v1/generations`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ request: requestOf(ask), on_disconnect: "continue" }),
  });
  const { id } = (await answer.json()) as { id?: string };
  if (id === undefined) throw new Error(`no generation was made: ${answer.status}`);
  return id;
}

/** Waits for its ending. @throws Error where it did not end well */
export async function ended({ host, port }: Running, id: string): Promise<void> {
  for (;;) {
    const answer = await fetch(`http://${host}:${port}/v1/generations/${id}`);
    const { status } = (await answer.json()) as { status: string };
    if (status === "completed") return;
    if (status !== "running" && status !== "queued") throw new Error(`the generation ended as ${status}`);
    await sleep(LOOK_MS);
  }
}
