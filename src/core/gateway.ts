import { Admission, type AdmissionLimits, type Place } from "./admission.ts";
import { asFault, Fault } from "./errors.ts";
import { Generation, type GenerationSpec } from "./generation.ts";
import { Idempotency } from "./idempotency.ts";
import type { Budget } from "./log.ts";
import type { Call, DisconnectPolicy, Levels, Observer, Refusal, Upstream } from "./ports.ts";
import { byHealth, produce } from "./produce.ts";

export interface GatewayLimits extends AdmissionLimits {
  readonly firstTokenTimeoutMs: number;
  readonly totalTimeoutMs: number;
  readonly disconnectGraceMs: number;
  /** Payload bytes of one log; of all running logs together. */
  readonly logMaxBytes: number;
  readonly runningMaxBytes: number;
}

/** Keeps ended generations for a while. `find` may be answered by another machine one day. */
export interface Store {
  keep(generation: Generation): void;
  find(id: string): Promise<Generation | undefined>;
  /** How many are kept, and their bytes. */
  readonly size: number;
  readonly bytes: number;
  /** Called for each generation that is let go. */
  onForgotten(listener: (generation: Generation) => void): void;
}

export interface GatewayPorts {
  readonly observer: Observer;
  readonly store: Store;
  /** The upstreams that serve a model, in order of preference. Throws `model_not_found` where none does. */
  upstreams(model: string | undefined): readonly Upstream[];
}

/** What a client asks to be generated, whatever the transport. */
export interface StartRequest extends Omit<GenerationSpec, "policy"> {
  readonly body: Uint8Array;
  readonly choices: number;
  readonly withholdUsage: boolean;
  /** The policy the client chose, and that of the route where it chose none and sent no idempotency key. */
  readonly policy: DisconnectPolicy | undefined;
  readonly defaultPolicy: DisconnectPolicy;
  readonly idempotencyKey: string | undefined;
  /** A digest of the request's JSON values: what the same idempotency key must come with again. */
  readonly fingerprint: () => string;
}

export interface Started {
  readonly generation: Generation;
  /** An idempotency key joined it to a generation that was there before. */
  readonly isAttached: boolean;
}

/** A request that has waited its turn already goes before those that have not. */
const RETRY_PRIORITY = 1;

/** The façade of the core: start, find, drain. */
export class Gateway {
  readonly #limits: GatewayLimits;
  readonly #ports: GatewayPorts;
  readonly #admission: Admission<Upstream>;
  readonly #active = new Map<string, Generation>();
  readonly #idempotency = new Idempotency();
  readonly #budget: Budget = { used: 0 };
  #isDraining = false;
  readonly #forgotten: ((generation: Generation) => void)[] = [];
  /** Those who wait until nothing runs any more. */
  readonly #idle: (() => void)[] = [];

  constructor(limits: GatewayLimits, ports: GatewayPorts) {
    this.#limits = limits;
    this.#ports = ports;
    this.#admission = new Admission(limits);
    ports.store.onForgotten((generation) => {
      this.#idempotency.forget(generation);
      for (const forgotten of this.#forgotten) forgotten(generation);
      generation.forget();
    });
  }

  get observer(): Observer {
    return this.#ports.observer;
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  get levels(): Levels {
    const { store } = this.#ports;
    return {
      queueDepth: this.#admission.depth,
      queueLimit: this.#limits.maxQueue,
      inFlight: this.#admission.inFlight,
      concurrencyLimit: this.#limits.maxConcurrency,
      active: this.#active.size,
      retained: store.size,
      retainedBytes: store.bytes,
      draining: this.#isDraining,
    };
  }

  /**
   * Starts a generation, or attaches to the one that the idempotency key names.
   * @throws Fault `idempotency_conflict`, `draining`, `overloaded`, `queue_full`, `model_not_found`
   */
  start(request: StartRequest): Started {
    const earlier = this.#checked(request, () => this.#idempotency.find(request));
    if (earlier !== undefined) {
      this.#attached(request, earlier);
      return { generation: earlier, isAttached: true };
    }
    this.#checkOpen(request);
    const upstreams = this.#checked(request, () => this.#ports.upstreams(request.model));
    return { generation: this.#admit(request, upstreams), isAttached: false };
  }

  /**
   * The generation of that id, running or retained.
   * @throws Fault `generation_not_found` where there is none, or it belongs to another key
   */
  async find(id: string, owner: string): Promise<Generation> {
    const generation = this.#active.get(id) ?? (await this.#ports.store.find(id));
    if (generation === undefined || generation.spec.owner !== owner) throw new Fault("generation_not_found");
    return generation;
  }

  /** Calls `listener` for each generation that is found no more, since its retention has passed. */
  onForgotten(listener: (generation: Generation) => void): void {
    this.#forgotten.push(listener);
  }

  /** From here on new work is refused. */
  close(): void {
    this.#isDraining = true;
  }

  /** Waits for what runs, for at most `timeoutMs`; what is left then fails with `draining`. Safe to call again. */
  async drain(timeoutMs: number): Promise<void> {
    this.close();
    if (this.#active.size === 0) return;
    const late = setTimeout(() => this.#stopAll(), timeoutMs);
    await new Promise<void>((idle) => {
      this.#idle.push(idle);
    });
    clearTimeout(late);
  }

  #stopAll(): void {
    for (const generation of this.#active.values()) {
      generation.stop("failed", new Fault("draining", { retryAfterS: 1 }));
    }
  }

  #checkOpen(request: StartRequest): void {
    const retryAfterS = this.#admission.retryAfterS();
    if (this.#isDraining) throw this.#refused(request, "draining", new Fault("draining", { retryAfterS }));
    if (this.#budget.used >= this.#limits.runningMaxBytes)
      throw this.#refused(request, "overloaded", new Fault("overloaded", { retryAfterS }));
  }

  /** Counts the fault of a request that was read here, where its model and transport are known. */
  #checked<T>(request: StartRequest, check: () => T): T {
    try {
      return check();
    } catch (thrown) {
      throw thrown instanceof Fault ? this.#refused(request, "invalid", thrown) : thrown;
    }
  }

  #refused(request: StartRequest, outcome: Refusal, fault: Fault): Fault {
    const { model, transport, owner: key, origin } = request;
    this.#ports.observer.refused({ model, transport, key, origin }, outcome, fault);
    return fault;
  }

  #attached({ model, transport, owner: key, origin }: StartRequest, { id }: Generation): void {
    this.#ports.observer.refused({ model, transport, key, origin, generation: id }, "attached");
  }

  #admit(request: StartRequest, upstreams: readonly Upstream[]): Generation {
    const place = this.#firstPlace(request, upstreams);
    const policy = request.policy ?? (request.idempotencyKey === undefined ? request.defaultPolicy : "grace");
    const { endpoint, model, stream, owner, transport, origin } = request;
    const generation = new Generation(
      { endpoint, model, stream, owner, transport, policy, origin },
      { observer: this.#ports.observer, budget: this.#budget, ...this.#limits },
    );
    this.#active.set(generation.id, generation);
    this.#idempotency.keep(request, generation);
    this.#ports.observer.accepted(generation.facts, request);
    if (place.position() === undefined) generation.admitted();
    else generation.waits(() => place.position());
    void generation.ended.then(() => this.#retire(generation));
    void this.#run(generation, place, request, upstreams);
    return generation;
  }

  #firstPlace(request: StartRequest, upstreams: readonly Upstream[]): Place<Upstream> {
    try {
      return this.#enter(request, upstreams, 0);
    } catch (thrown) {
      throw this.#refused(request, "queue_full", asFault(thrown));
    }
  }

  #enter(request: StartRequest, upstreams: readonly Upstream[], priority: number): Place<Upstream> {
    const { owner, body } = request;
    return this.#admission.enter({
      key: owner,
      bytes: body.length,
      priority,
      targets: () => byHealth(upstreams),
    });
  }

  async #run(
    generation: Generation,
    place: Place<Upstream>,
    request: StartRequest,
    upstreams: readonly Upstream[],
  ): Promise<void> {
    try {
      const failure = await produce(generation, place, {
        upstreams,
        call: () => this.#call(request),
        enter: (left) => this.#enter(request, left, RETRY_PRIORITY),
      });
      if (failure !== undefined) generation.finish(failure);
    } catch (thrown) {
      generation.finish({ status: "failed", fault: asFault(thrown) });
    }
  }

  #call(request: StartRequest): Call {
    const { endpoint, model, body, stream, choices, withholdUsage } = request;
    const patienceMs = stream ? this.#limits.firstTokenTimeoutMs : this.#limits.totalTimeoutMs;
    return {
      endpoint,
      model,
      body,
      stream,
      choices,
      withholdUsage,
      firstContentBy: performance.now() + patienceMs,
    };
  }

  /** The generation has ended: from running to retained. */
  #retire(generation: Generation): void {
    this.#active.delete(generation.id);
    this.#ports.store.keep(generation);
    if (this.#active.size === 0) for (const idle of this.#idle.splice(0)) idle();
  }
}
