/** Something between load and upstream whose cost is measured. */
import type { Rig } from "../rig.ts";

export interface Running {
  readonly host: string;
  readonly port: number;
  /** Undefined where there is nothing between load and upstream. */
  readonly pid: number | undefined;
  /** Its reads and writes are calls that the kernel counts in /proc. */
  readonly countsCalls: boolean;
  readonly headers?: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

export interface Subject {
  readonly name: string;
  /** For tables. */
  readonly title: string;
  readonly wire: "sse" | "ws";
  /** Streams on one connection. */
  readonly perConnection: number;
  /** Why it cannot be measured here; undefined where it can. */
  missing?(): string | undefined;
  start(rig: Rig): Promise<Running>;
}
