import { Fault } from "../core/errors.ts";
import type { Upstream } from "../core/ports.ts";
import { at, listAt } from "../dialect/json.ts";
import type { OpenAiUpstream, Relayed } from "./openai.ts";

export interface CatalogEntry {
  readonly upstream: OpenAiUpstream;
  /** Patterns of the models it serves, `*` standing for any characters; none: every model. */
  readonly models: readonly string[];
}

/** A listing is asked for again after so long. Milliseconds. */
const LISTING_MS = 60_000;
/** How long a listing may take. Milliseconds. */
const LISTING_TIMEOUT_MS = 10_000;

/** Which upstream serves which model, and what the upstreams list. */
export class Catalog {
  readonly #entries: readonly CatalogEntry[];
  readonly #defaultModel: string | undefined;
  readonly #onListed: (models: readonly string[]) => void;
  #listed: readonly string[] = [];
  #listedAt = Number.NEGATIVE_INFINITY;
  #listing: Promise<readonly string[]> | undefined;

  /** @param onListed told the names of models whenever the upstreams were asked */
  constructor(
    entries: readonly CatalogEntry[],
    defaultModel: string | undefined,
    onListed: (models: readonly string[]) => void,
  ) {
    this.#entries = entries;
    this.#defaultModel = defaultModel;
    this.#onListed = onListed;
  }

  /** The upstreams for a model, in order of preference. @throws Fault `model_not_found` */
  serving(model: string | undefined): readonly Upstream[] {
    const serving = this.#entries
      .filter(({ models }) => serves(models, model))
      .map(({ upstream }) => upstream);
    if (serving.length === 0) throw new Fault("model_not_found", { param: "model" });
    return serving;
  }

  /** The upstream for calls that are no generations. @throws Fault `model_not_found` */
  first(model?: string): OpenAiUpstream {
    const [entry] = this.#entries.filter(({ models }) => model === undefined || serves(models, model));
    if (entry === undefined) throw new Fault("model_not_found", { param: "model" });
    return entry.upstream;
  }

  /** The model for a request that names none. @throws Fault `invalid_request` where that is not clear */
  async defaultModel(): Promise<string> {
    if (this.#defaultModel !== undefined) return this.#defaultModel;
    const [only, ...others] = await this.models();
    if (only !== undefined && others.length === 0) return only;
    const message =
      only === undefined
        ? "The request names no model, and the upstream lists none."
        : "The request names no model, and the upstream lists several.";
    throw new Fault("invalid_request", { message, param: "model" });
  }

  /** Names of the models that the upstreams list, kept for a minute. @throws Fault where none can be asked */
  async models(): Promise<readonly string[]> {
    if (performance.now() - this.#listedAt < LISTING_MS) return this.#listed;
    this.#listing ??= this.listing()
      .then(() => this.#listed)
      .finally(() => {
        this.#listing = undefined;
      });
    return this.#listing;
  }

  /**
   * What `GET /v1/models` answers: the one upstream's own bytes, or the lists of several as one, each model once, from the
   * upstream that would be asked for it first. @throws Fault where none can be asked
   */
  async listing(): Promise<Relayed> {
    const asked = await Promise.allSettled(this.#entries.map((entry) => list(entry)));
    const lists = asked.filter((answer) => answer.status === "fulfilled").map(({ value }) => value);
    const [first] = lists;
    if (first === undefined) throw (asked[0] as PromiseRejectedResult).reason;
    const merged = new Map<string, unknown>();
    for (const { models } of lists) {
      for (const [name, model] of models) if (!merged.has(name)) merged.set(name, model);
    }
    this.#listed = [...merged.keys()];
    this.#listedAt = performance.now();
    this.#onListed(this.#listed);
    if (this.#entries.length === 1) return first.answer;
    const body = Buffer.from(JSON.stringify({ object: "list", data: [...merged.values()] }));
    return { status: first.answer.status, headers: {}, body };
  }
}

interface Listed {
  readonly answer: Relayed;
  /** By name, those that the entry's patterns let through. */
  readonly models: readonly (readonly [name: string, model: unknown])[];
}

async function list({ upstream, models: patterns }: CatalogEntry): Promise<Listed> {
  const answer = await upstream.relay("get", "/models", AbortSignal.timeout(LISTING_TIMEOUT_MS));
  let listing: unknown;
  try {
    listing = JSON.parse(answer.body.toString("utf8"));
  } catch (thrown) {
    throw new Fault("upstream_error", {
      message: "The upstream's list of models is not JSON.",
      cause: thrown,
    });
  }
  const named = listAt(listing, "data").map((model) => [at(model, "id"), model] as const);
  const models = named.filter((entry): entry is [string, unknown] => typeof entry[0] === "string");
  return { answer, models: models.filter(([name]) => serves(patterns, name)) };
}

function serves(patterns: readonly string[], model: string | undefined): boolean {
  return (
    patterns.length === 0 || (model !== undefined && patterns.some((pattern) => matches(pattern, model)))
  );
}

/** `*` stands for any characters. Each part is looked for once, from left to right: no name makes this slow. */
function matches(pattern: string, model: string): boolean {
  const [first = "", ...rest] = pattern.split("*");
  const last = rest.pop();
  if (last === undefined) return model === pattern;
  let at = first.length;
  if (!model.startsWith(first) || model.length < at + last.length || !model.endsWith(last)) return false;
  for (const part of rest) {
    const found = model.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return at + last.length <= model.length;
}
