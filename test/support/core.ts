/** What the tests of the core share: an upstream that does what a test says, an observer that remembers, short ways to wait. */
import type { ErrorCode } from "../../src/core/errors.ts";
import { Fault } from "../../src/core/errors.ts";
import { Gateway, type GatewayLimits, type StartRequest } from "../../src/core/gateway.ts";
import { Generation, type GenerationPorts, type GenerationSpec } from "../../src/core/generation.ts";
import type { Budget, Log } from "../../src/core/log.ts";
import {
  type AttemptEnd,
  type Call,
  CONTENT,
  type Ending,
  type Intake,
  type Observer,
  type Upstream,
} from "../../src/core/ports.ts";
import { silence } from "../../src/core/silence.ts";
import { MemoryStore } from "../../src/store/memory.ts";

/** All that promises alone set in motion has happened after it. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export const ending = (more: Partial<Ending> = {}): Ending => ({
  status: "completed",
  timing: { queue_ms: 0, duration_ms: 1 },
  ...more,
});

export const COMPLETED: AttemptEnd = { status: "completed" };
export const failed = (code: ErrorCode): AttemptEnd => ({ status: "failed", fault: new Fault(code) });

/** Appends a text whole. */
export function appendTo(log: Pick<Log, "append">, text: string | Buffer, flags = 0): void {
  const bytes = Buffer.from(text);
  log.append(bytes, 0, bytes.length, flags);
}

/** All payloads that a reader can see. */
export const payloadsOf = (log: Log, after = 0): string[] =>
  Array.from({ length: log.head - after }, (_, index) => log.payload(after + index + 1).toString());

/** One attempt, led by the test: nothing happens by itself, an abort included. */
export class ScriptedAttempt {
  readonly call: Call;
  readonly intake: Intake;
  readonly signal: AbortSignal;
  readonly over = Promise.withResolvers<void>();

  constructor(call: Call, intake: Intake, signal: AbortSignal) {
    this.call = call;
    this.intake = intake;
    this.signal = signal;
    intake.sent();
    intake.answered({ "x-ratelimit-limit": "7" });
  }

  /** One read of the upstream, with an event for each text. */
  content(...texts: string[]): this {
    for (const text of texts) appendTo(this.intake, text, CONTENT);
    this.intake.flush();
    return this;
  }

  /** Like `content`, of events that are none (a role, a keep-alive). */
  other(...texts: string[]): this {
    for (const text of texts) appendTo(this.intake, text);
    this.intake.flush();
    return this;
  }

  end(end: AttemptEnd = COMPLETED): this {
    this.intake.end(end);
    return this;
  }

  /** The upstream's stream is closed. */
  close(): void {
    this.over.resolve();
  }
}

export class ScriptedUpstream implements Upstream {
  readonly name: string;
  readonly maxConcurrency: number | undefined;
  isWell = true;
  readonly attempts: ScriptedAttempt[] = [];

  constructor(name = "scripted", maxConcurrency?: number) {
    this.name = name;
    this.maxConcurrency = maxConcurrency;
  }

  attempt(call: Call, intake: Intake, signal: AbortSignal): Promise<void> {
    const attempt = new ScriptedAttempt(call, intake, signal);
    this.attempts.push(attempt);
    return attempt.over.promise;
  }

  /** The attempt of that number, from 0; the newest where none is given. */
  at(index = this.attempts.length - 1): ScriptedAttempt {
    const attempt = this.attempts[index];
    if (attempt === undefined) throw new Error(`no attempt ${index} was made`);
    return attempt;
  }
}

/** An observer that keeps its calls. */
export class Recorder {
  readonly calls: { readonly name: keyof Observer; readonly args: readonly unknown[] }[] = [];
  readonly observer: Observer;

  constructor() {
    const names = Object.keys(silence) as (keyof Observer)[];
    const entries = names.map((name) => [
      name,
      (...args: unknown[]): void => void this.calls.push({ name, args }),
    ]);
    this.observer = Object.fromEntries(entries) as Observer;
  }

  /** The arguments of each call of that name. */
  of<Name extends keyof Observer>(name: Name): Parameters<Observer[Name]>[] {
    return this.calls
      .filter((call) => call.name === name)
      .map(({ args }) => args as Parameters<Observer[Name]>);
  }

  /** The outcomes of creating requests, refused or ended. */
  get outcomes(): string[] {
    return [
      ...this.of("refused").map(([, outcome]) => outcome),
      ...this.of("ended").map(([facts]) => facts.outcome),
    ];
  }
}

export interface LooseGeneration {
  readonly generation: Generation;
  readonly seen: Recorder;
  readonly budget: Budget;
}

/** A generation without a gateway around it. */
export function newGeneration(
  spec: Partial<GenerationSpec> = {},
  ports: Partial<GenerationPorts> = {},
): LooseGeneration {
  const seen = new Recorder();
  const budget = { used: 0 };
  const generation = new Generation(
    {
      endpoint: "/v1/chat/completions",
      model: "m",
      stream: true,
      owner: "none",
      transport: "sse",
      policy: "grace",
      ...spec,
    },
    { observer: seen.observer, budget, logMaxBytes: 1e6, disconnectGraceMs: 1000, ...ports },
  );
  return { generation, seen, budget };
}

export const LIMITS: GatewayLimits = {
  maxConcurrency: 2,
  maxQueue: 2,
  queueMaxBytes: 1000,
  queueTimeoutMs: 60_000,
  firstTokenTimeoutMs: 60_000,
  totalTimeoutMs: 60_000,
  disconnectGraceMs: 60_000,
  logMaxBytes: 1000,
  runningMaxBytes: 10_000,
};

export interface TestHouse {
  readonly gateway: Gateway;
  readonly upstream: ScriptedUpstream;
  readonly store: MemoryStore;
  readonly seen: Recorder;
  /** Starts a request, and is past the moment in which it was admitted or not. */
  start(request?: Partial<StartRequest>): Promise<Generation>;
}

export interface TestHouseOptions {
  readonly limits?: Partial<GatewayLimits>;
  readonly retentionMs?: number;
  readonly retainedMaxBytes?: number;
  /** In place of the scripted one. */
  readonly upstreams?: (model: string | undefined) => readonly Upstream[];
}

/** The core with a scripted upstream and the memory store. */
export function newHouse(options: TestHouseOptions = {}): TestHouse {
  const upstream = new ScriptedUpstream();
  const seen = new Recorder();
  const { retentionMs = 60_000, retainedMaxBytes = 1e6, upstreams = () => [upstream] } = options;
  const store = new MemoryStore({ retentionMs, retainedMaxBytes });
  const gateway = new Gateway(
    { ...LIMITS, ...options.limits },
    { observer: seen.observer, store, upstreams },
  );
  return {
    gateway,
    upstream,
    store,
    seen,
    async start(request = {}) {
      const { generation } = gateway.start(startRequest(request));
      await turn();
      return generation;
    },
  };
}

export const startRequest = (more: Partial<StartRequest> = {}): StartRequest => ({
  endpoint: "/v1/chat/completions",
  model: "m",
  stream: true,
  owner: "none",
  transport: "sse",
  body: Buffer.from("{}"),
  choices: 1,
  withholdUsage: false,
  policy: undefined,
  defaultPolicy: "grace",
  idempotencyKey: undefined,
  fingerprint: () => "same",
  ...more,
});

/** The code of the fault that `act` throws. */
export function faultCode(act: () => unknown): string | undefined {
  try {
    act();
  } catch (thrown) {
    if (thrown instanceof Fault) return thrown.code;
    throw thrown;
  }
  return undefined;
}
