/** Plays the plans: opens a stream, cuts it, comes back over another transport, and notes what was not as it should be. */
import { setTimeout as sleep } from "node:timers/promises";
import { Oracle, type Told } from "./oracle.ts";
import type { Dice, Plan } from "./plan.ts";
import { codeIn, Line, openSse, type Taker, type Wire } from "./wires.ts";

/** A stream that takes longer has been lost. */
const LIMIT_MS = 120_000;
/** Longer than a reader may be stuck. */
const STUCK_MS = 9000;
const MOST_AWAY_MS = 600;
/** One in so many of those that leave takes the whole connection with it. */
const TAKES_ALL = 0.1;

export type Tally = Record<string, number>;

export interface Soak {
  readonly url: string;
  readonly wsUrl: string;
  readonly random: Dice;
  readonly tally: Tally;
  readonly wrong: string[];
  /** Creating requests that have left. */
  sent: number;
  /** Those of them that were cut off before they were answered: it cannot be known whether they arrived. */
  unsure: number;
}

export const count = (tally: Tally, name: string, more = 1): void => {
  tally[name] = (tally[name] ?? 0) + more;
};

/** One connection for several streams; a new one when somebody has taken it down. */
export class Shared {
  readonly #wsUrl: string;
  #line: Line | undefined;

  constructor(wsUrl: string) {
    this.#wsUrl = wsUrl;
  }

  async open(): Promise<Line> {
    if (this.#line === undefined || !this.#line.isOpen) this.#line = new Line(this.#wsUrl);
    const line = this.#line;
    await line.ready;
    return line;
  }

  close(): void {
    this.#line?.ws.close(1000);
    this.#line = undefined;
  }
}

type Left = "left" | "broken" | "lost";

/** One stream from its start to whatever its plan makes the end of it. */
export class Stream {
  readonly #soak: Soak;
  readonly #plan: Plan;
  readonly #oracle: Oracle;
  readonly #shared: Shared;
  #id: string | undefined;
  #wire: Wire | undefined;
  #wasCancelled = false;
  /** Where it reads, if over WebSocket. */
  #line: Line | undefined;

  constructor(soak: Soak, plan: Plan, shared: Shared) {
    this.#soak = soak;
    this.#plan = plan;
    this.#oracle = new Oracle(plan);
    this.#shared = shared;
  }

  async run(): Promise<void> {
    const { tally } = this.#soak;
    const { transport, conduct, stops } = this.#plan;
    count(tally, `streams: ${transport}`);
    let next = 0;
    let told = await this.#read(() => this.#start(), stops[next]);
    while (typeof told === "string") {
      if (told === "lost") return this.#wrong("lost: nothing came to an end in time");
      if (told === "left") {
        next++;
        if (conduct === "aborts" || conduct === "vanishes stuck") return count(tally, `left: ${conduct}`);
      } else if (!this.#mayBreak()) return this.#wrong(`broke off after ${this.#oracle.count} events`);
      else if (this.#id === undefined) {
        // Taken down with its connection before it was accepted.
        this.#soak.unsure++;
        return count(tally, "left: cut off before it was accepted");
      } else if (conduct === "aborts") return count(tally, "left: aborts");
      count(tally, told === "left" ? "cuts" : "cut off by the other side, or with the connection");
      await sleep(this.#soak.random.below(MOST_AWAY_MS));
      told = await this.#read(() => this.#resume(), stops[next]);
    }
    this.#judge(told);
    if (conduct === "replays" && this.#id !== undefined) await this.#replay();
  }

  /** A reader that was stuck is cut off, and a connection that was taken down takes all with it; nothing else may break. */
  #mayBreak(): boolean {
    return this.#plan.conduct === "stuck" || this.#line?.isTakenDown === true;
  }

  #judge(told: Told): void {
    const problem = this.#oracle.end(told, this.#wasCancelled);
    if (problem === undefined)
      count(this.#soak.tally, told.status === "failed" ? `failed: ${told.code}` : told.status);
    else if (told.status !== "wrong") this.#wrong(problem);
  }

  #wrong(problem: string): void {
    count(this.#soak.tally, "WRONG");
    const { name, transport, conduct } = this.#plan;
    this.#soak.wrong.push(`${name} (${transport}, ${conduct}): ${problem}`);
    if (this.#soak.wrong.length <= 100) console.log(`WRONG: ${this.#soak.wrong.at(-1)}`);
  }

  /** Reads until the stop, the ending or a break. */
  async #read(open: () => Promise<(taker: Taker) => Wire>, stop: number | undefined): Promise<Told | Left> {
    const opened = await open();
    const { promise, resolve } = Promise.withResolvers<Told | Left>();
    const late = setTimeout(() => resolve("lost"), LIMIT_MS);
    let isDone = false;
    const taker: Taker = {
      named: (id) => {
        this.#id = id;
      },
      event: (seq, payload) => {
        if (isDone) return;
        const problem = this.#oracle.take(seq, payload);
        if (problem !== undefined) {
          isDone = true;
          this.#wire?.leave();
          this.#wrong(problem);
          return resolve({ status: "wrong" });
        }
        count(this.#soak.tally, "events");
        if (this.#oracle.count !== stop) return;
        isDone = this.#atStop(resolve);
      },
      over: (told) => {
        // Whoever reads no further has chosen what it sees last.
        if (!isDone) resolve(told ?? "broken");
      },
    };
    this.#wire = opened(taker);
    const told = await promise;
    clearTimeout(late);
    if (told === "lost") this.#wire.leave();
    return told;
  }

  /** @returns whether it reads no further */
  #atStop(resolve: (left: Left) => void): boolean {
    const { conduct } = this.#plan;
    const wire = this.#wire;
    if (conduct === "cancels") {
      this.#cancel();
      return false;
    }
    if (conduct === "stuck") {
      count(this.#soak.tally, "stuck readers");
      wire?.pause();
      setTimeout(() => wire?.resume(), STUCK_MS);
      return false;
    }
    if (conduct === "vanishes stuck") {
      count(this.#soak.tally, "stuck readers");
      wire?.pause();
      setTimeout(() => {
        wire?.leave();
        resolve("left");
      }, STUCK_MS);
      return true;
    }
    wire?.leave();
    resolve("left");
    return true;
  }

  #cancel(): void {
    this.#wasCancelled = true;
    const { url } = this.#soak;
    if (this.#plan.transport === "socket") {
      void this.#shared.open().then((line) => line.send({ type: "cancel", generation: this.#id }));
    } else void postJson(`${url}/v1/generations/${this.#id}/cancel`, {}).catch(() => {});
  }

  async #start(): Promise<(taker: Taker) => Wire> {
    const { url } = this.#soak;
    const { transport, conduct, name, script } = this.#plan;
    const request = { model: "sluice-demo", messages: MESSAGES, user: name, emulator: script };
    const stays = conduct === "aborts" ? {} : { "x-sluice-on-disconnect": "grace" };
    this.#soak.sent++;
    if (transport === "stock") {
      const body = { ...request, stream: true };
      return (taker) => openSse({ url: `${url}/v1/chat/completions`, body, headers: stays }, taker);
    }
    if (transport === "socket") {
      const line = (this.#line = await this.#shared.open());
      const policy = conduct === "aborts" ? { on_disconnect: "cancel" } : {};
      return (taker) => line.ask(name, { type: "generate", request, ...policy }, taker);
    }
    const created = await postJson(`${url}/v1/generations`, { request });
    if (created.status !== 201) {
      const code = codeIn(created.text);
      return (taker) => {
        queueMicrotask(() => taker.over({ status: "failed", code }));
        return { leave: () => {}, pause: () => {}, resume: () => {} };
      };
    }
    this.#id = (JSON.parse(created.text) as { id: string }).id;
    return (taker) => openSse({ url: this.#eventsUrl() }, taker);
  }

  async #resume(): Promise<(taker: Taker) => Wire> {
    const { random, tally } = this.#soak;
    const after = this.#oracle.count;
    this.#line = undefined;
    if (random.next() < 0.5) {
      count(tally, "resumed on /events");
      const headers = { "last-event-id": String(after) };
      return (taker) => openSse({ url: this.#eventsUrl(), headers }, taker);
    }
    count(tally, "resumed over WebSocket");
    const line = (this.#line = await this.#shared.open());
    const name = `${this.#plan.name}-${after}-${random.below(1e9)}`;
    const message = { type: "subscribe", generation: this.#id, starting_after: after };
    return (taker) => line.ask(name, message, taker);
  }

  /** Once more, whole and from the start. */
  async #replay(): Promise<void> {
    count(this.#soak.tally, "replayed whole");
    const again = new Oracle(this.#plan);
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    openSse(
      { url: this.#eventsUrl() },
      {
        named: () => {},
        event: (seq, payload) => {
          const problem = again.take(seq, payload);
          if (problem !== undefined) resolve(problem);
        },
        over: (told) => resolve(told ? again.end(told, this.#wasCancelled) : "the replay broke off"),
      },
    );
    const problem = await promise;
    if (problem !== undefined) this.#wrong(`replay: ${problem}`);
  }

  #eventsUrl(): string {
    return `${this.#soak.url}/v1/generations/${this.#id}/events`;
  }
}

/** Takes a connection down with everything on it, now and then. */
export async function upset(soak: Soak, shared: Shared): Promise<void> {
  if (soak.random.next() >= TAKES_ALL) return;
  count(soak.tally, "connections taken down");
  (await shared.open()).takeDown();
}

const MESSAGES = [{ role: "user", content: "hello" }];

interface Whole {
  readonly choices: readonly { readonly message: { readonly content: string } }[];
}

/** An answer that is not streamed. */
export async function whole(soak: Soak, { name, script, words, failure }: Plan): Promise<void> {
  count(soak.tally, "streams: whole");
  soak.sent++;
  const request = { model: "sluice-demo", messages: MESSAGES, user: name, emulator: script };
  const { status, text } = await postJson(`${soak.url}/v1/chat/completions`, request);
  if (status !== 200) {
    if (failure !== undefined) return count(soak.tally, `failed: ${codeIn(text)}`);
  } else if (failure === undefined) {
    const [choice] = (JSON.parse(text) as Whole).choices;
    if (choice?.message.content === words.join("")) return count(soak.tally, "completed");
  }
  count(soak.tally, "WRONG");
  soak.wrong.push(`${name} (whole): ${status} ${text.slice(0, 300)}`);
}

async function postJson(url: string, body: object): Promise<{ status: number; text: string }> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(LIMIT_MS),
  });
  return { status: response.status, text: await response.text() };
}
