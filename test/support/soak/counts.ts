/** What a process holds, counted from outside: objects on the heap, timers, sockets; and a gateway's own figures. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { SseClient } from "../sse-client.ts";

/** Everything that can be collected is gone. */
export function collect(): void {
  setFlagsFromString("--expose_gc");
  const gc = runInNewContext("gc") as () => void;
  for (let turn = 0; turn < 3; turn++) gc();
}

export function heapMb(): number {
  collect();
  return process.memoryUsage().heapUsed / 1_048_576;
}

/** What keeps the event loop alive, by kind; sockets and timers alone, which is what could leak. */
export function held(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) {
    if (/^(Timeout|TCPSocketWrap)$/.test(kind)) counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}

export type Figures = (name: string, labels?: string) => number;

/** A scrape, over a connection that does not stay. The figure asked for is the sum of those whose labels include `labels`. */
export async function figures(url: string): Promise<Figures> {
  const client = new SseClient(`${url}/metrics`);
  await client.ended;
  const lines = client.text.split("\n");
  return (name, labels = "") =>
    lines
      .filter((line) => line.startsWith(`sluice_${name}{`) || line.startsWith(`sluice_${name} `))
      .filter((line) => line.includes(labels))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
}

/** The outcomes of creating requests, as the gateway counted them. */
export async function outcomes(url: string): Promise<Record<string, number>> {
  const client = new SseClient(`${url}/metrics`);
  await client.ended;
  const counts: Record<string, number> = {};
  for (const [, outcome = "", count] of client.text.matchAll(
    /^sluice_requests_total\{.*outcome="(\w+)".*\} (\d+)$/gm,
  )) {
    if (Number(count) > 0) counts[outcome] = (counts[outcome] ?? 0) + Number(count);
  }
  return counts;
}
