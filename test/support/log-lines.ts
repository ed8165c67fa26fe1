/** The log of a gateway process, line by line. */
import type { GatewayProcess } from "./gateway.ts";
import { metricOf } from "./gateway.ts";

export interface LogLine {
  readonly level: number;
  readonly msg: string;
  readonly request_id?: string;
  readonly generation?: string;
  readonly model?: string;
  readonly transport?: string;
  readonly key?: string;
  readonly outcome?: string;
  readonly code?: string;
  readonly [more: string]: unknown;
}

export const LEVEL = { info: 30, warn: 40, error: 50 } as const;

/** All that is JSON of what it has printed; the greeting is not. */
export const logOf = (gateway: GatewayProcess): LogLine[] =>
  gateway
    .output()
    .split("\n")
    .filter((line) => line.startsWith("{") && line.endsWith("}"))
    .map((line) => JSON.parse(line) as LogLine);

export const requestsIn = (gateway: GatewayProcess): LogLine[] =>
  logOf(gateway).filter(({ msg }) => msg === "request");

const OUTCOMES = [
  ...["completed", "incomplete", "failed", "cancelled", "disconnected", "attached", "queue_full"],
  ...["queue_timeout", "overloaded", "invalid", "unauthorized", "draining"],
];

/** How many requests had each outcome over each transport: as the log tells it, and as the metrics do. */
export async function counted(
  gateway: GatewayProcess,
): Promise<Record<"log" | "metrics", Record<string, number>>> {
  const log: Record<string, number> = {};
  const metrics: Record<string, number> = {};
  for (const transport of ["sse", "websocket", "json", "none"]) {
    for (const outcome of OUTCOMES) {
      const name = `${transport} ${outcome}`;
      const labels = { transport, outcome };
      const lines = requestsIn(gateway).filter(
        (line) => line.transport === transport && line.outcome === outcome,
      );
      if (lines.length > 0) log[name] = lines.length;
      const value = await metricOf(gateway.url, "sluice_requests_total", labels);
      if (value > 0) metrics[name] = value;
    }
  }
  return { log, metrics };
}
