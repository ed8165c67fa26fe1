/** What each stream of the soak will be told and do, drawn from a seed, and what must come of it. */
import type { FaultKind, Script } from "../../src/emulator/index.ts";

export type Transport = "stock" | "events" | "socket" | "whole";
export type Conduct = "stays" | "aborts" | "cancels" | "returns" | "stuck" | "vanishes stuck" | "replays";

export interface Failure {
  /** Tokens that are told before it. */
  readonly after: number;
  /** The code of the ending; undefined where it is the upstream's own. */
  readonly code: string | undefined;
  /** A reset may take the last tokens with it. */
  readonly isLoose: boolean;
}

export interface Plan {
  /** In every word of the answer, so that no other stream's can be taken for it. */
  readonly name: string;
  readonly transport: Transport;
  readonly conduct: Conduct;
  /** Events after which it leaves, or does whatever it does; the last goes on to the end. */
  readonly stops: readonly number[];
  readonly script: Script;
  readonly words: readonly string[];
  readonly failure: Failure | undefined;
}

export interface Dice {
  /** From 0 up to 1. */
  next(): number;
  below(limit: number): number;
  oneOf<T>(items: readonly T[]): T;
}

export function dice(next: () => number): Dice {
  const below = (limit: number): number => Math.floor(next() * limit);
  return { next, below, oneOf: <T>(items: readonly T[]): T => items[below(items.length)] as T };
}

const LATE: readonly (readonly [FaultKind, string])[] = [
  ["reset", "upstream_disconnected"],
  ["eof", "upstream_disconnected"],
  ["half_event", "upstream_disconnected"],
  ["half_utf8", "upstream_disconnected"],
  ["hang", "upstream_stalled"],
  ["comments", "upstream_stalled"],
  ["error_event", "emulator_fault"],
  ["error_string", "upstream_error"],
  ["error_object_no_message", "upstream_error"],
  ["garbage", "upstream_error"],
  ["not_utf8", "upstream_error"],
];
const EARLY: readonly FaultKind[] = [
  "status",
  "plain_error",
  "malformed_error",
  "no_answer",
  "reset_before_headers",
  "hang_before_headers",
];
const STATUSES = [400, 404, 429, 500, 503];
const CONDUCTS: readonly Conduct[] = [
  ...Array<Conduct>(9).fill("stays"),
  ...Array<Conduct>(5).fill("returns"),
  ...Array<Conduct>(3).fill("aborts"),
  ...Array<Conduct>(2).fill("cancels"),
  "replays",
];
const FAULTY = 0.2;
const MOST_STOPS = 4;
/** More than the sockets between the two hold, and less than one generation's log may. */
const LARGE = { words: 900, payload_bytes: 16_384, pace_ms: 1 };

export function drawPlan(name: string, transport: Transport, isStuck: boolean, random: Dice): Plan {
  if (isStuck) return stuckPlan(name, transport, random);
  const words = wordsOf(name, 20 + random.below(280));
  const script: Script = {
    text: words.join(""),
    first_token_ms: random.below(600),
    pace_ms: transport === "whole" ? 0 : 30 + random.below(100),
    jitter_ms: random.below(20),
    ...(random.next() < 0.3 ? { payload_bytes: 300 + random.below(900) } : {}),
    ...(random.next() < 0.1 && transport !== "whole" ? { read: 20 + random.below(200) } : {}),
  };
  const base = { name, transport, words };
  if (transport === "whole") return wholePlan(base, script, random);
  const failure = random.next() < FAULTY ? drawFault(words.length, random) : undefined;
  const conduct = random.oneOf(CONDUCTS);
  return {
    ...base,
    conduct,
    stops: drawStops(conduct, words.length, random),
    script: failure === undefined ? script : { ...script, fault: failure.fault },
    failure: failure?.failure,
  };
}

function wholePlan(base: Pick<Plan, "name" | "transport" | "words">, script: Script, random: Dice): Plan {
  const fails = random.next() < FAULTY;
  const slow = { ...script, first_token_ms: 200 + random.below(3000) };
  const fault = { kind: random.oneOf(EARLY), status: random.oneOf(STATUSES) };
  return {
    ...base,
    conduct: "stays",
    stops: [],
    script: fails ? { ...slow, fault: cleaned(fault) } : slow,
    failure: fails ? { after: 0, code: undefined, isLoose: false } : undefined,
  };
}

/** A status where the fault has one. */
const cleaned = ({ kind, status }: { kind: FaultKind; status: number }) =>
  kind === "status" || kind === "plain_error" || kind === "malformed_error" ? { kind, status } : { kind };

function drawFault(words: number, random: Dice) {
  if (random.next() < 0.3) {
    const fault = cleaned({ kind: random.oneOf(EARLY), status: random.oneOf(STATUSES) });
    return { fault, failure: { after: 0, code: undefined, isLoose: false } };
  }
  const [kind, code] = random.oneOf(LATE);
  const after = 1 + random.below(words - 1);
  return { fault: { kind, after_tokens: after }, failure: { after, code, isLoose: kind === "reset" } };
}

function drawStops(conduct: Conduct, words: number, random: Dice): number[] {
  if (conduct === "stays" || conduct === "replays") return [];
  const count = conduct === "returns" ? 1 + random.below(MOST_STOPS) : 1;
  const stops = Array.from({ length: count }, () => 1 + random.below(words));
  return [...new Set(stops)].sort((one, other) => one - other);
}

function stuckPlan(name: string, transport: Transport, random: Dice): Plan {
  const { words: count, ...script } = LARGE;
  const words = wordsOf(name, count);
  return {
    name,
    transport,
    conduct: random.next() < 0.7 ? "stuck" : "vanishes stuck",
    stops: [1 + random.below(20)],
    script: { ...script, text: words.join("") },
    words,
    failure: undefined,
  };
}

/** As the emulator splits its text: each with the space before it. */
const wordsOf = (name: string, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `${index === 0 ? "" : " "}${name}.${index}`);
