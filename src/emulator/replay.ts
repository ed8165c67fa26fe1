/** Recorded answers, sent again byte for byte. */
import { readFile, realpath } from "node:fs/promises";
import type { OutgoingHttpHeaders } from "node:http";
import path from "node:path";
import { SSE_HEADERS } from "./faults.ts";
import { isRecord, ScriptError } from "./script.ts";
import type { Timing } from "./spouts.ts";

export interface Recording {
  readonly status: number;
  readonly headers: OutgoingHttpHeaders;
  readonly bytes: Buffer;
  /** Where each block ends, its blank line included; the last is the end of the body. */
  readonly ends: readonly number[];
  /** The index of the last block if it is `[DONE]`, else the number of blocks. */
  readonly doneAt: number;
}

export const DEFAULT_TIMING: Timing = { eventsPerRead: [1, 2], gapsMs: [20, 5] };

const USEFUL_HEADER =
  /^(retry-after|x-ratelimit-|ratelimit|x-should-retry|www-authenticate|openai-|x-request-id|apim-)/;
const LF = 10;
const CR = 13;

/** A folder of recordings: `index.json` with each one's status and headers, and `chunk-timings.json`, are optional. */
export class Corpus {
  readonly #folder: string | undefined;
  readonly #recordings = new Map<string, Promise<Recording>>();
  #timing: Promise<Timing> | undefined;
  #index: Promise<Map<string, Record<string, unknown>>> | undefined;

  constructor(folder: string | undefined) {
    this.#folder = folder;
  }

  /**
   * The recording at a path inside the folder.
   * @throws {ScriptError} where there is none, or the path leaves the folder
   */
  async recording(name: string): Promise<Recording> {
    const known = this.#recordings.get(name);
    if (known !== undefined) return known;
    const reading = this.#read(name);
    this.#recordings.set(name, reading);
    reading.catch(() => this.#recordings.delete(name));
    return reading;
  }

  /** The read boundaries and gaps of the first recorded timing, or a small one of our own. */
  timing(): Promise<Timing> {
    this.#timing ??= this.#readTiming();
    return this.#timing;
  }

  async #readTiming(): Promise<Timing> {
    const timings = await this.#readJson("chunk-timings.json");
    const first: unknown = Array.isArray(timings) ? timings[0] : undefined;
    if (!isRecord(first)) return DEFAULT_TIMING;
    return { eventsPerRead: numbers(first["events_per_read"]), gapsMs: numbers(first["gaps_ms"]) };
  }

  async #read(name: string): Promise<Recording> {
    const file = await this.#inside(name);
    const bytes = await readFile(file).catch(() => {
      throw new ScriptError(`replay: there is no readable recording ${JSON.stringify(name)}`);
    });
    const entry = (await (this.#index ??= this.#readIndex())).get(name.split(path.sep).join("/"));
    const ends = blockEnds(bytes);
    const last = bytes.subarray(ends.at(-2) ?? 0).toString("latin1");
    return {
      status: typeof entry?.["status"] === "number" ? entry["status"] : 200,
      headers: recordedHeaders(name, entry),
      bytes,
      ends,
      doneAt: /^data: ?\[DONE\]\s*$/.test(last) ? ends.length - 1 : ends.length,
    };
  }

  /** Refuses what leads out of the folder, links included. */
  async #inside(name: string): Promise<string> {
    if (this.#folder === undefined) throw new ScriptError("replay: this emulator has no corpus folder");
    const root = await realpath(this.#folder).catch(() => {
      throw new ScriptError("replay: the corpus folder is not there");
    });
    const asked = path.resolve(root, name);
    const real = asked.startsWith(root + path.sep) ? await realpath(asked).catch(() => asked) : "";
    if (real.startsWith(root + path.sep)) return real;
    throw new ScriptError(`replay: ${JSON.stringify(name)} is outside the corpus folder`);
  }

  async #readIndex(): Promise<Map<string, Record<string, unknown>>> {
    const index = await this.#readJson("index.json");
    const files: unknown = isRecord(index) ? index["files"] : undefined;
    const entries = Array.isArray(files) ? files.filter(isRecord) : [];
    return new Map(entries.map((entry) => [String(entry["file"]), entry]));
  }

  async #readJson(name: string): Promise<unknown> {
    if (this.#folder === undefined) return undefined;
    try {
      return JSON.parse(await readFile(path.join(this.#folder, name), "utf8"));
    } catch {
      return undefined;
    }
  }
}

function recordedHeaders(name: string, entry: Record<string, unknown> | undefined): OutgoingHttpHeaders {
  const headers: OutgoingHttpHeaders = { ...SSE_HEADERS, "content-type": typeByName(name) };
  const recorded = isRecord(entry?.["response_headers"]) ? entry["response_headers"] : {};
  for (const [key, value] of Object.entries(recorded)) {
    if (typeof value === "string" && USEFUL_HEADER.test(key.toLowerCase()))
      headers[key.toLowerCase()] = value;
  }
  const type = entry?.["content_type"];
  return typeof type === "string" ? { ...headers, "content-type": type } : headers;
}

function typeByName(name: string): string {
  if (name.endsWith(".json")) return "application/json";
  return name.endsWith(".txt") ? "text/plain" : "text/event-stream";
}

function numbers(value: unknown): number[] {
  return Array.isArray(value) ? value.filter((entry) => typeof entry === "number") : [];
}

/** The offsets just behind each blank line, whether lines end in LF, CRLF or CR, and the end of the body. */
export function blockEnds(bytes: Uint8Array): number[] {
  const ends: number[] = [];
  let lineStart = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    if (bytes[at] !== LF && bytes[at] !== CR) continue;
    const next = bytes[at] === CR && bytes[at + 1] === LF ? at + 2 : at + 1;
    if (at === lineStart) {
      // A second blank line belongs to the block before it.
      if (ends.at(-1) === lineStart) ends.pop();
      ends.push(next);
    }
    lineStart = next;
    at = next - 1;
  }
  if (bytes.length > 0 && ends.at(-1) !== bytes.length) ends.push(bytes.length);
  return ends;
}
