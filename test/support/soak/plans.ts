/** What each request of the soak will do, drawn from a seed: the same seed plans the same run. */
import { EARLY_FAULTS, LATE_FAULTS, type Script } from "../../../src/emulator/index.ts";

export type Transport = "stock" | "whole" | "events" | "socket";

/** What the client does once it has seen `after` events: to leave is to vanish without a word. */
export type Conduct = "stays" | "leaves" | "cancels" | "unsubscribes" | "returns" | "stalls" | "twice";

export interface Plan {
  /** Unique: the request's `user`. */
  readonly name: string;
  readonly transport: Transport;
  readonly conduct: Conduct;
  readonly after: number;
  /** How long it stalls or stays away. Milliseconds. */
  readonly forMs: number;
  readonly request: Readonly<Record<string, unknown>>;
}

/** Numbers from 0 up to 1 (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const TRANSPORTS: readonly Transport[] = ["stock", "stock", "events", "socket", "socket", "socket", "whole"];
const CONDUCTS: Readonly<Record<Transport, readonly Conduct[]>> = {
  stock: ["stays", "stays", "stays", "leaves", "leaves", "cancels", "twice"],
  whole: ["stays", "stays", "leaves"],
  events: ["stays", "stays", "leaves", "returns", "returns", "cancels"],
  socket: ["stays", "stays", "stays", "leaves", "cancels", "unsubscribes"],
};
/** One in so many stalls, on an answer that no socket buffer holds. */
const STALLS_EVERY = 250;
const LARGE: Script = { tokens: 160, payload_bytes: 65_536 };

export function plans(seed: number, count: number): readonly Plan[] {
  const random = randomFrom(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const oneOf = <T>(items: readonly T[]): T => items[below(items.length)] as T;
  const one = (index: number): Plan => {
    const stalls = index % STALLS_EVERY === STALLS_EVERY - 1;
    const transport = stalls ? oneOf(["stock", "events", "socket"] as const) : oneOf(TRANSPORTS);
    const name = `${seed}-${index}`;
    const script = stalls ? LARGE : scriptFrom(random, below, oneOf);
    return {
      name,
      transport,
      conduct: stalls ? "stalls" : oneOf(CONDUCTS[transport]),
      after: below(5),
      forMs: stalls ? 200 + below(600) : below(150),
      request: {
        // The first is served by one upstream alone, the second by both.
        model: oneOf(["alone", "both"]),
        messages: [{ role: "user", content: "hello" }],
        user: name,
        emulator: script,
      },
    };
  };
  return Array.from({ length: count }, (_, index) => one(index));
}

function scriptFrom(
  random: () => number,
  below: (limit: number) => number,
  oneOf: <T>(items: readonly T[]) => T,
): Script {
  const calm: Script = {
    tokens: 1 + below(24),
    pace_ms: below(4),
    ...(random() < 0.1 ? { first_token_ms: below(100) } : {}),
    ...(random() < 0.1 ? { usage: true } : {}),
    ...(random() < 0.1 ? { comment_every_ms: 5 } : {}),
    ...(random() < 0.1 ? { read: 1 + below(60) } : {}),
  };
  if (random() > 0.35) return calm;
  const kind = oneOf([...EARLY_FAULTS, ...LATE_FAULTS]);
  const status = oneOf([400, 404, 429, 500, 503]);
  return {
    ...calm,
    fault: {
      kind,
      after_tokens: below(6),
      ...(random() < 0.15 ? { after_finish: true } : {}),
      ...(kind === "status" || kind === "plain_error" || kind === "malformed_error" ? { status } : {}),
    },
  };
}
