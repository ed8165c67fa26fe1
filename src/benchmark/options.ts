/** The command line of `sluice bench`. */
import { parseArgs } from "node:util";
import type { Goodput } from "./metrics.ts";
import { TRANSPORTS, type Transport } from "./wire.ts";

export interface BenchOptions {
  /** One, or two to compare: base URLs up to and with their version, such as `http://127.0.0.1:8080/v1`. */
  readonly baseUrls: readonly string[];
  readonly model: string | undefined;
  readonly apiKey: string | undefined;
  /** One for each URL. */
  readonly transports: readonly Transport[];
  readonly concurrency: number | undefined;
  /** Requests a second; Infinity sends all at once. */
  readonly rate: number;
  readonly seed: number;
  readonly numPrompts: number;
  readonly prompt: string | undefined;
  readonly inputWords: number | undefined;
  readonly maxTokens: number;
  readonly percentiles: readonly number[];
  readonly goodput: Goodput;
  readonly json: string | undefined;
  readonly svg: string | undefined;
  readonly warmup: number;
  readonly requestTimeoutMs: number;
  readonly extraBody: Readonly<Record<string, unknown>>;
  readonly ignoreEos: boolean;
}

const FLAGS = {
  model: { type: "string" },
  "api-key": { type: "string" },
  transport: { type: "string" },
  "compare-transport": { type: "string" },
  concurrency: { type: "string" },
  rate: { type: "string" },
  seed: { type: "string" },
  "num-prompts": { type: "string" },
  prompt: { type: "string" },
  "input-words": { type: "string" },
  "max-tokens": { type: "string" },
  percentiles: { type: "string" },
  goodput: { type: "string", multiple: true },
  compare: { type: "string" },
  json: { type: "string" },
  svg: { type: "string" },
  warmup: { type: "string" },
  "request-timeout": { type: "string" },
  "extra-body": { type: "string" },
  "ignore-eos": { type: "boolean" },
  help: { type: "boolean" },
} as const;

const MOST_PROMPTS = 1_000_000;
const MOST_CONCURRENCY = 100_000;
const MOST_TOKENS = 10_000_000;
const MOST_WORDS = 1_000_000;
const MOST_SEED = 2 ** 32 - 1;
const MOST_TIMEOUT_S = 86_400;

/**
 * @param args what follows `bench` on the command line
 * @param env where `OPENAI_API_KEY` is looked up
 * @throws {Error} with one line that names the flag and what it should be
 */
export function readOptions(args: readonly string[], env: NodeJS.ProcessEnv): BenchOptions | "help" {
  const parsed = parseArgs({ args: spread(args), options: FLAGS, strict: true, allowPositionals: true });
  const { values, positionals } = parsed;
  if (values.help === true) return "help";
  const [url, ...more] = positionals;
  if (url === undefined) throw new Error("URL is missing; see sluice bench --help");
  if (more.length > 0)
    throw new Error(`one URL, not also ${JSON.stringify(more[0])}; a second goes to --compare`);
  if (values.prompt !== undefined && values["input-words"] !== undefined)
    throw new Error("--prompt and --input-words cannot be combined");
  const whole = (name: keyof typeof FLAGS, least: number, most: number): number | undefined =>
    wholeNumber(`--${name}`, values[name] as string | undefined, least, most);
  return {
    baseUrls: [
      baseUrl("URL", url),
      ...(values.compare === undefined ? [] : [baseUrl("--compare", values.compare)]),
    ],
    model: values.model,
    apiKey: apiKeyOf(values["api-key"] ?? env["OPENAI_API_KEY"] ?? ""),
    transports: transportsOf(values.transport ?? "sse", values["compare-transport"], values.compare),
    concurrency: whole("concurrency", 1, MOST_CONCURRENCY),
    rate: rateOf(values.rate ?? "inf"),
    seed: whole("seed", 0, MOST_SEED) ?? 0,
    numPrompts: whole("num-prompts", 1, MOST_PROMPTS) ?? 100,
    prompt: values.prompt,
    inputWords: whole("input-words", 1, MOST_WORDS),
    maxTokens: whole("max-tokens", 1, MOST_TOKENS) ?? 128,
    percentiles: (values.percentiles ?? "99").split(",").map((text) => number("--percentiles", text, 0, 100)),
    goodput: goodputOf(values.goodput ?? []),
    json: values.json,
    svg: values.svg,
    warmup: whole("warmup", 0, MOST_PROMPTS) ?? 0,
    requestTimeoutMs:
      1000 * number("--request-timeout", values["request-timeout"] ?? "600", 0.001, MOST_TIMEOUT_S),
    extraBody: objectOf("--extra-body", values["extra-body"] ?? "{}"),
    ignoreEos: values["ignore-eos"] === true,
  };
}

const LIMIT = /^(?:ttft|tpot|e2el):/;

/** `--goodput ttft:500 tpot:50` is `--goodput=ttft:500 --goodput=tpot:50`: a flag may be followed by several limits. */
function spread(args: readonly string[]): string[] {
  let isInGoodput = false;
  return args.map((arg, index) => {
    const isMore = isInGoodput && LIMIT.test(arg) && args[index - 1] !== "--goodput";
    isInGoodput =
      arg.split("=")[0] === "--goodput" || (isInGoodput && args[index - 1] === "--goodput") || isMore;
    return isMore ? `--goodput=${arg}` : arg;
  });
}

function goodputOf(texts: readonly string[]): Goodput {
  const limits = texts
    .flatMap((text) => text.split(","))
    .map((text) => {
      const [name = "", value = ""] = text.split(":");
      if (!LIMIT.test(text))
        throw new Error(
          `--goodput takes limits such as ttft:500, tpot:50 or e2el:2000 in ms, not ${JSON.stringify(text)}`,
        );
      return [name, number(`--goodput ${name}`, value, 0, Number.MAX_VALUE)];
    });
  return Object.fromEntries(limits);
}

/** A URL without a path gets `/v1`; one of the chat route is cut back to its base. */
function baseUrl(name: string, text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== "http:" && url?.protocol !== "https:")
    throw new Error(`${name} must be a URL such as http://127.0.0.1:8080, not ${JSON.stringify(text)}`);
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "")
    throw new Error(`${name} must have no credentials, no query and no fragment; keys go to --api-key`);
  const path = url.pathname.replace(/\/+$/, "").replace(/\/chat\/completions$/, "");
  return `${url.origin}${path === "" ? "/v1" : path}`;
}

function wholeNumber(
  flag: string,
  text: string | undefined,
  least: number,
  most: number,
): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new Error(`${flag} must be a whole number from ${least} to ${most}, not ${JSON.stringify(text)}`);
}

function number(flag: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && value >= least && value <= most) return value;
  const range = most === Number.MAX_VALUE ? `of ${least} or more` : `from ${least} to ${most}`;
  throw new Error(`${flag} must be a number ${range}, not ${JSON.stringify(text)}`);
}

/** The message does not quote it: keys are never printed. */
function apiKeyOf(text: string): string | undefined {
  if (!/^[\x21-\x7e]*$/.test(text)) throw new Error("the API key has characters that no header can carry");
  return text === "" ? undefined : text;
}

function rateOf(text: string): number {
  if (text === "inf") return Infinity;
  const value = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && value > 0) return value;
  throw new Error(`--rate must be requests a second above 0, or inf, not ${JSON.stringify(text)}`);
}

function transportsOf(first: string, second: string | undefined, compare: string | undefined): Transport[] {
  if (second !== undefined && compare === undefined)
    throw new Error("--compare-transport needs a second server: --compare URL2");
  const transport = transportOf("--transport", first);
  if (compare === undefined) return [transport];
  return [transport, second === undefined ? transport : transportOf("--compare-transport", second)];
}

function transportOf(flag: string, text: string): Transport {
  const found = TRANSPORTS.find((name) => name === text);
  if (found !== undefined) return found;
  throw new Error(`${flag} must be one of ${TRANSPORTS.join(", ")}, not ${JSON.stringify(text)}`);
}

function objectOf(flag: string, text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return { ...value };
  } catch {
    // Told below, as for JSON that is no object.
  }
  throw new Error(`${flag} must be a JSON object, not ${JSON.stringify(text)}`);
}
