/** SIGTERM under two hundred streams: what can end in time does so byte for byte, and the rest is told what happened to it. */
import { setTimeout as sleep } from "node:timers/promises";
import type { FaultKind, Script } from "../../src/emulator/index.ts";
import type { EmulatorProcess } from "../support/emulator-process.ts";
import { type GatewayProcess, startProcess, until } from "../support/gateway.ts";
import { post } from "../support/requests.ts";
import { randomFrom } from "../support/soak/plans.ts";
import { Oracle, type Told } from "./oracle.ts";
import { type Dice, dice, type Plan } from "./plan.ts";
import { Line, openSse, type Taker } from "./wires.ts";

export const STREAMS = 200;
const PER_SOCKET = 5;
export const SHUTDOWN_MS = 10_000;
/** After the shutdown time: last bytes, and a machine that is busy with other things. */
const EXIT_MARGIN_MS = 6000;
/** SIGTERM comes within so long after the last request has reached the upstream. */
const WITHIN_MS = 1500;
const PACE_MS = 50;

/** Whether a stream ends before the shutdown time is over; where it is close, it may do either. */
type Prospect = "ends" | "is cut" | "either";

interface Planned {
  readonly plan: Plan;
  readonly prospect: Prospect;
}

export interface DrainResult {
  readonly seed: number;
  /** From the last request's arrival to SIGTERM. */
  readonly momentMs: number;
  /** Streams that were running then. */
  readonly running: number;
  readonly ended: number;
  readonly failedAsScripted: number;
  readonly cut: number;
  readonly exitCode: number | null;
  readonly exitMs: number;
  /** What was not as it should be. */
  readonly wrong: readonly string[];
}

export async function drainUnderLoad(seed: number, emulator: EmulatorProcess): Promise<DrainResult> {
  const gateway = await startProcess({
    OPENAI_BASE_URL: emulator.url,
    LOG_LEVEL: "warn",
    SLUICE_SHUTDOWN_TIMEOUT_MS: String(SHUTDOWN_MS),
  });
  try {
    return await new Round(seed, emulator, gateway).run();
  } finally {
    await gateway.stop();
  }
}

class Round {
  readonly #seed: number;
  readonly #emulator: EmulatorProcess;
  readonly #gateway: GatewayProcess;
  readonly #random: Dice;
  readonly #wrong: string[] = [];
  readonly #count = { over: 0, ended: 0, failedAsScripted: 0, cut: 0 };
  /** By connection, whether a stream on it was cut. */
  readonly #lines = new Map<Line, boolean>();

  constructor(seed: number, emulator: EmulatorProcess, gateway: GatewayProcess) {
    this.#seed = seed;
    this.#emulator = emulator;
    this.#gateway = gateway;
    this.#random = dice(randomFrom(seed));
  }

  async run(): Promise<DrainResult> {
    const momentMs = this.#random.below(WITHIN_MS);
    const plans = Array.from({ length: STREAMS }, (_, index) => this.#draw(index, momentMs));
    const asked = await this.#stats("requests");
    const streams = this.#start(plans);
    await until("all have reached the upstream", async () => {
      return (await this.#stats("requests")) >= asked + STREAMS;
    });
    await sleep(momentMs);
    const running = STREAMS - this.#count.over;
    const from = performance.now();
    this.#gateway.child.kill("SIGTERM");
    const exited = this.#gateway.exited.then((code) => ({ code, ms: performance.now() - from }));
    await Promise.all(streams);
    for (const [line, wasCut] of this.#lines) {
      const [code, wanted] = [await line.closed, wasCut ? 1012 : 1001];
      if (code !== wanted) this.#wrong.push(`a WebSocket was closed with ${code}, not ${wanted}`);
    }
    const exit = await exited;
    if (exit.code !== 0) this.#wrong.push(`exit code ${exit.code}: ${this.#gateway.output()}`);
    if (exit.ms > SHUTDOWN_MS + EXIT_MARGIN_MS) this.#wrong.push(`it left after ${exit.ms} ms`);
    await until("the upstream is let go", async () => (await this.#stats("open")) === 0);
    return {
      seed: this.#seed,
      momentMs,
      running,
      ended: this.#count.ended,
      failedAsScripted: this.#count.failedAsScripted,
      cut: this.#count.cut,
      exitCode: exit.code,
      exitMs: Math.round(exit.ms),
      wrong: this.#wrong,
    };
  }

  async #stats(name: string): Promise<number> {
    const answer = await fetch(new URL("/emulator/stats", this.#emulator.url));
    return ((await answer.json()) as Record<string, number>)[name] ?? Number.NaN;
  }

  /** A quarter on the stock wire, a quarter on `/events`, half over WebSocket. */
  #start(plans: readonly Planned[]): Promise<void>[] {
    let line: Line | undefined;
    return plans.map((planned, index) => {
      if (index < STREAMS / 4) return this.#stock(planned);
      if (index < STREAMS / 2) return this.#events(planned);
      if (line === undefined || index % PER_SOCKET === 0) {
        line = new Line(this.#gateway.wsUrl);
        this.#lines.set(line, false);
      }
      return this.#socket(planned, line);
    });
  }

  #stock(planned: Planned): Promise<void> {
    const body = { ...requestOf(planned.plan), stream: true };
    const url = `${this.#gateway.url}/v1/chat/completions`;
    return this.#read(planned, (taker) => openSse({ url, body }, taker));
  }

  async #events(planned: Planned): Promise<void> {
    const answer = await post(`${this.#gateway.url}/v1/generations`, { request: requestOf(planned.plan) });
    const { id } = (await answer.json()) as { id: string };
    const url = `${this.#gateway.url}/v1/generations/${id}/events`;
    return this.#read(planned, (taker) => openSse({ url }, taker));
  }

  async #socket(planned: Planned, line: Line): Promise<void> {
    await line.ready;
    const { plan } = planned;
    const message = { type: "generate", request: requestOf(plan) };
    await this.#read(planned, (taker) =>
      line.ask(plan.name, message, {
        ...taker,
        over: (told) => {
          if (told?.code === "draining") this.#lines.set(line, true);
          taker.over(told);
        },
      }),
    );
  }

  async #read({ plan, prospect }: Planned, open: (taker: Taker) => unknown): Promise<void> {
    const oracle = new Oracle(plan);
    const { promise, resolve } = Promise.withResolvers<Told | undefined>();
    const problems: string[] = [];
    open({
      named: () => {},
      event: (seq, payload) => {
        const problem = oracle.take(seq, payload);
        if (problem !== undefined) problems.push(problem);
      },
      over: resolve,
    });
    const told = await promise;
    this.#count.over++;
    const problem = problems[0] ?? this.#judge(plan, prospect, oracle, told);
    if (problem !== undefined) this.#wrong.push(`${plan.name} (${plan.transport}, ${prospect}): ${problem}`);
  }

  #judge(plan: Plan, prospect: Prospect, oracle: Oracle, told: Told | undefined): string | undefined {
    if (told === undefined) return `broke off after ${oracle.count} events`;
    if (told.code === "draining") {
      this.#count.cut++;
      if (prospect === "ends") return `was cut after ${oracle.count} events, though it would have ended`;
      if (told.status !== "failed") return `was cut, but told ${told.status}`;
      return told.seq === undefined || told.seq === oracle.count + 1
        ? undefined
        : `its end has seq ${told.seq}`;
    }
    if (prospect === "is cut") return `told ${told.status} ${told.code ?? ""} after ${oracle.count} events`;
    if (plan.failure === undefined) this.#count.ended++;
    else this.#count.failedAsScripted++;
    return oracle.end(told, false);
  }

  /** Most end within six seconds; of the rest some are as long as the shutdown time, some far longer, some never begin. */
  #draw(index: number, momentMs: number): Planned {
    const random = this.#random;
    const name = `d${this.#seed}-${index}`;
    const transport = index < STREAMS / 4 ? "stock" : index < STREAMS / 2 ? "events" : "socket";
    const planned = (prospect: Prospect, ms: number, script: Script = {}): Planned => {
      const count = Math.max(2, Math.round(ms / PACE_MS));
      const words = Array.from({ length: count }, (_, word) => `${word === 0 ? "" : " "}${name}.${word}`);
      const pace = { pace_ms: PACE_MS, text: words.join("") };
      const base = { name, transport, conduct: "stays", stops: [], words, failure: undefined } as const;
      return { prospect, plan: { ...base, script: { ...pace, ...script } } };
    };
    const draw = random.next();
    if (draw < 0.15) return planned("is cut", 60_000);
    if (draw < 0.2) return planned("is cut", 1000, { first_token_ms: 600_000 });
    if (draw < 0.3) return planned("either", momentMs + SHUTDOWN_MS - 1000 + random.below(2000));
    const first = 1000 + random.below(2000);
    const short = planned("ends", 1000 + random.below(2000), {
      first_token_ms: first,
      ...(random.next() < 0.3 ? { payload_bytes: 1000 } : {}),
    });
    if (draw < 0.9) return short;
    const [kind, code] = random.oneOf(FAULTS);
    const after = 1 + random.below(short.plan.words.length - 1);
    const script = { ...short.plan.script, fault: { kind, after_tokens: after } };
    return { ...short, plan: { ...short.plan, script, failure: { after, code, isLoose: false } } };
  }
}

const FAULTS: readonly (readonly [FaultKind, string])[] = [
  ["eof", "upstream_disconnected"],
  ["half_event", "upstream_disconnected"],
  ["error_event", "emulator_fault"],
  ["garbage", "upstream_error"],
];

const requestOf = ({ name, script }: Plan): object => ({
  model: "sluice-demo",
  messages: [{ role: "user", content: "hello" }],
  user: name,
  emulator: script,
});
