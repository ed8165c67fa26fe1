/** Tells a generation: headers, role, tokens at their pace, finish reason, usage, `[DONE]`, and the fault where it is due. */
import { gzipSync } from "node:zlib";
import type { ChunkOptions } from "./chunks.ts";
import { Chunks } from "./chunks.ts";
import { actEarly, actLate, isEarly, SSE_HEADERS, StreamOver } from "./faults.ts";
import type { Outlet } from "./outlet.ts";
import { type Plan, plannedToken, plannedTokens } from "./plan.ts";
import { type Corpus, DEFAULT_TIMING, type Recording } from "./replay.ts";
import type { Script, ScriptFault } from "./script.ts";
import { CollectingSpout, CutReached, NOTHING, type Spout, spoutFor, type Timing } from "./spouts.ts";
import { answerWhole, wholeBody } from "./whole.ts";

/** One generation to tell. */
export interface Job {
  readonly out: Outlet;
  readonly script: Script;
  readonly plan: Plan;
  readonly shape: ChunkOptions;
  readonly streamed: boolean;
  readonly corpus: Corpus;
}

/** At full pace, other streams get their turn after so many writes. */
const WRITES_A_TURN = 16;
const ONE_EVENT = { tokens: 0, events: 1 };

/**
 * Answers one generation request as its script says.
 * @throws {ClientGone} when the client leaves
 * @throws {ScriptError} when a replay cannot be found; nothing has been sent then
 */
export async function perform(job: Job): Promise<void> {
  const { out, script } = job;
  const fault = script.fault;
  if (fault !== undefined && isEarly(fault.kind)) {
    await out.sleep(script.first_token_ms ?? 0);
    return fault.kind === "compressed" ? answerCompressed(job) : actEarly(out, fault, fault.kind);
  }
  const recording = script.replay === undefined ? undefined : await job.corpus.recording(script.replay);
  if (recording === undefined && !job.streamed) return answerWhole(job);
  const timing = script.read === "timed" ? await job.corpus.timing() : DEFAULT_TIMING;
  await stream(job, recording, timing);
}

async function stream(job: Job, recording: Recording | undefined, timing: Timing): Promise<void> {
  const { out, script } = job;
  if (recording !== undefined && recording.status >= 400) await out.sleep(script.first_token_ms ?? 0);
  out.head(recording?.status ?? 200, recording?.headers ?? SSE_HEADERS);
  const spout = spoutFor(out, script, timing);
  const teller = new Teller(job, spout);
  try {
    await (recording === undefined ? teller.tell() : teller.replay(recording));
    await spout.flush();
    out.end();
  } catch (thrown) {
    if (thrown instanceof CutReached) await endAtCut(job, timing);
    else if (!(thrown instanceof StreamOver)) throw thrown;
  }
}

/** After a cut the fault acts, or the stream just ends. */
async function endAtCut({ out, script, shape }: Job, timing: Timing): Promise<void> {
  const { cut_at: _, ...uncut } = script;
  const fault = script.fault ?? { kind: "eof" };
  try {
    await actLate(out, spoutFor(out, uncut, timing), new Chunks(shape), {
      ...fault,
      afterwards: endOf(fault),
    });
  } catch (thrown) {
    if (!(thrown instanceof StreamOver)) throw thrown;
  }
}

/** There is nothing to continue with after a cut. */
function endOf(fault: ScriptFault): NonNullable<ScriptFault["afterwards"]> {
  return fault.afterwards === undefined || fault.afterwards === "continue" ? "end" : fault.afterwards;
}

/** Gzip although nobody asked for it. */
async function answerCompressed(job: Job): Promise<void> {
  const { fault: _, pace_ms: __, first_token_ms: ___, jitter_ms: ____, ...calm } = job.script;
  const headers = { "content-encoding": "gzip", ...job.script.fault?.headers };
  if (!job.streamed) {
    const json = { "content-type": "application/json", ...headers };
    return job.out.answer(200, json, gzipSync(wholeBody(job)), "faulted");
  }
  const collected = new CollectingSpout();
  await new Teller({ ...job, script: calm }, collected).tell();
  job.out.answer(200, { ...SSE_HEADERS, ...headers }, gzipSync(collected.body()), "faulted");
}

class Teller {
  readonly #out: Outlet;
  readonly #script: Script;
  readonly #plan: Plan;
  readonly #chunks: Chunks;
  readonly #spout: Spout;
  /** Where a cut is wanted, the fault waits for it. */
  readonly #fault: ScriptFault | undefined;
  #due = Number.NEGATIVE_INFINITY;
  #commentDue: number;
  #writes = 0;

  constructor({ out, script, plan, shape }: Job, spout: Spout) {
    this.#out = out;
    this.#script = script;
    this.#plan = plan;
    this.#chunks = new Chunks(shape);
    this.#spout = spout;
    this.#fault = script.cut_at === undefined ? script.fault : undefined;
    this.#commentDue = performance.now() + (script.comment_every_ms ?? Number.POSITIVE_INFINITY);
  }

  async tell(): Promise<void> {
    if (this.#chunks.endpoint === "chat" && this.#script.role_chunk !== false) {
      await this.#eachChoice((choice) => this.#chunks.role(choice));
    }
    await this.#waitForFirst();
    await this.#tellTokens();
    const reason = this.#plan.finishReason;
    if (reason !== null) await this.#eachChoice((choice) => this.#chunks.finish(choice, reason));
    if (this.#fault?.after_finish === true) await this.#fail(this.#fault);
    if (this.#plan.showUsage) await this.#spout.send(this.#chunks.usage(this.#plan.usage), ONE_EVENT);
    if (this.#script.done !== false) await this.#spout.send(this.#chunks.done(), ONE_EVENT);
  }

  async #tellTokens(): Promise<void> {
    const total = plannedTokens(this.#plan);
    const burst = this.#script.burst ?? 1;
    const faultAt = this.#faultPosition(total);
    if (faultAt === 0) await this.#failNow();
    for (let at = 0; at < total; ) {
      if (at > 0) await this.#keepPace();
      const end = Math.min(total, at + burst, faultAt > at ? faultAt : total);
      await this.#spout.send(this.#tokenEvents(at, end), { tokens: end - at, events: end - at });
      at = end;
      if (at === faultAt) await this.#failNow();
    }
  }

  /** A recorded body, block by block: byte for byte unless a fault is due. */
  async replay(recording: Recording): Promise<void> {
    if (recording.status < 400) await this.#waitForFirst();
    const { bytes, ends, doneAt } = recording;
    const afterFinish = this.#fault?.after_finish === true;
    const faultAt = afterFinish ? doneAt : this.#faultPosition(ends.length);
    for (let index = 0; index < ends.length; index += 1) {
      if (index > 0) await this.#keepPace();
      if (this.#fault !== undefined && index === faultAt) await this.#fail(this.#fault);
      await this.#spout.send(bytes.subarray(ends[index - 1] ?? 0, ends[index]), ONE_EVENT);
    }
    if (this.#fault !== undefined && faultAt === ends.length) await this.#fail(this.#fault);
  }

  #tokenEvents(start: number, end: number): string {
    let events = "";
    for (let index = start; index < end; index += 1) {
      const { choice, text, reasoning } = plannedToken(this.#plan, index);
      events += this.#chunks.token(choice, text, reasoning);
    }
    return events;
  }

  async #eachChoice(chunk: (choice: number) => string): Promise<void> {
    for (let choice = 0; choice < this.#plan.n; choice += 1) await this.#spout.send(chunk(choice), ONE_EVENT);
  }

  /** After how many of so many it acts; -1 where it does not. A stream that is too short fails at its end. */
  #faultPosition(total: number): number {
    if (this.#fault === undefined || this.#fault.after_finish === true) return -1;
    return Math.min(this.#fault.after_tokens ?? 0, total);
  }

  async #failNow(): Promise<void> {
    if (this.#fault !== undefined) await this.#fail(this.#fault);
  }

  #fail(fault: ScriptFault): Promise<void> {
    return actLate(this.#out, this.#spout, this.#chunks, fault);
  }

  #waitForFirst(): Promise<void> | undefined {
    const wait = this.#script.first_token_ms ?? 0;
    return wait > 0 ? this.#pause(wait) : undefined;
  }

  /** Waits until the next write is due. One that comes late is not caught up with by a burst. */
  async #keepPace(): Promise<void> {
    const jitter = this.#script.jitter_ms ?? 0;
    const gap = (this.#script.pace_ms ?? 0) + (jitter > 0 ? Math.random() * jitter : 0);
    if (gap > 0) {
      const now = performance.now();
      // Counted from when the last was due, so that late timers do not add up; from now, if more than a gap is lost.
      this.#due = this.#due + 2 * gap < now ? now + gap : this.#due + gap;
      return this.#pause(this.#due - now);
    }
    this.#writes += 1;
    if (this.#writes % WRITES_A_TURN === 0) await this.#pause(0);
  }

  /** Waits, sending the comments that fall due meanwhile. */
  async #pause(ms: number): Promise<void> {
    const every = this.#script.comment_every_ms;
    if (every === undefined) return this.#out.sleep(ms);
    const until = performance.now() + ms;
    do {
      await this.#out.sleep(Math.min(until, this.#commentDue) - performance.now());
      if (performance.now() < this.#commentDue) continue;
      await this.#spout.send(this.#chunks.comment("keep-alive"), NOTHING);
      this.#commentDue = performance.now() + every;
    } while (performance.now() < until);
  }
}
