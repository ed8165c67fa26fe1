/** The command line of `sluice bench`. */
import { readFileSync } from "node:fs";
import { describe, expect, it, test } from "vitest";
import { HELP } from "../../src/benchmark/help.ts";
import { type BenchOptions, readOptions } from "../../src/benchmark/options.ts";
import { bodyOf } from "../../src/benchmark/request.ts";

const URL = "http://127.0.0.1:8080";

function read(...args: readonly string[]): BenchOptions {
  const options = readOptions(args, {});
  if (options === "help") throw new Error("it is help");
  return options;
}

test("what is not said has its default", () => {
  expect(read(URL)).toMatchObject({
    baseUrls: [`${URL}/v1`],
    transports: ["sse"],
    rate: Infinity,
    numPrompts: 100,
    maxTokens: 128,
    percentiles: [99],
    goodput: {},
    warmup: 0,
    ignoreEos: false,
    requestTimeoutMs: 600_000,
  });
  expect(read(URL).concurrency).toBeUndefined();
});

it.each([
  ["http://host:8000", "http://host:8000/v1"],
  ["http://host:8000/", "http://host:8000/v1"],
  ["https://host/api/v1/", "https://host/api/v1"],
  ["http://host/v1/chat/completions", "http://host/v1"],
])("the base of %s is %s", (url, base) => {
  expect(read(url).baseUrls).toEqual([base]);
});

it("a second server may have a transport of its own", () => {
  const both = ["--compare", "http://other", "--transport", "events"];
  expect(read(...both, URL).transports).toEqual(["events", "events"]);
  expect(read(...both, "--compare-transport", "sse", URL).transports).toEqual(["events", "sse"]);
});

describe("--goodput", () => {
  it.each([
    [["--goodput", "ttft:500", "tpot:50", "e2el:1000.5", URL]],
    [[URL, "--goodput", "ttft:500", "tpot:50", "e2el:1000.5"]],
    [["--goodput=ttft:500", "tpot:50", "e2el:1000.5", "--seed", "1", URL]],
    [["--goodput", "ttft:500,tpot:50", "--goodput", "e2el:1000.5", URL]],
  ])("%j", (args) => {
    expect(read(...args)).toMatchObject({
      goodput: { ttft: 500, tpot: 50, e2el: 1000.5 },
      baseUrls: [`${URL}/v1`],
    });
  });
});

describe("is refused in one line that names it", () => {
  it.each([
    [["--nope", URL], /--nope/],
    [[], /URL/],
    [["host:80"], /URL/],
    [["ftp://host"], /URL/],
    [["http://user:secret@host"], /credentials/],
    [[URL, "http://other"], /--compare/],
    [["--compare", "nowhere", URL], /--compare/],
    [["--concurrency", "0", URL], /--concurrency/],
    [["--concurrency", "many", URL], /--concurrency/],
    [["--num-prompts", "1.5", URL], /--num-prompts/],
    [["--max-tokens", "-1", URL], /--max-tokens/],
    [["--rate", "0", URL], /--rate/],
    [["--rate", "fast", URL], /--rate/],
    [["--seed", "99999999999", URL], /--seed/],
    [["--percentiles", "50,101", URL], /--percentiles/],
    [["--percentiles", "", URL], /--percentiles/],
    [["--goodput", "itl:5", URL], /--goodput/],
    [["--goodput", "ttft:soon", URL], /--goodput ttft/],
    [["--transport", "pigeon", URL], /--transport/],
    [["--compare-transport", "sse", URL], /--compare URL2/],
    [["--compare", URL, "--compare-transport", "pigeon", URL], /--compare-transport/],
    [["--extra-body", "{", URL], /--extra-body/],
    [["--extra-body", "[]", URL], /--extra-body/],
    [["--request-timeout", "0", URL], /--request-timeout/],
    [["--prompt", "a", "--input-words", "3", URL], /--input-words/],
    [["--api-key", "a\nb", URL], /API key/],
  ])("%j", (args, named) => {
    expect(() => readOptions(args, {})).toThrow(named);
  });

  it("without the key", () => {
    expect(() => readOptions(["--api-key", "geheim\n", URL], {})).toThrow(/^(?!.*geheim)/);
    expect(() => readOptions(["http://user:geheim@host"], {})).toThrow(/^(?!.*geheim)/);
  });
});

test("the key is the flag's, else the environment's", () => {
  const env = { OPENAI_API_KEY: "from-env" };
  expect(readOptions([URL], env)).toMatchObject({ apiKey: "from-env" });
  expect(readOptions(["--api-key", "from-flag", URL], env)).toMatchObject({ apiKey: "from-flag" });
});

/** vLLM's, npm's and the emulator's, which the document names too. */
const FOREIGN = ["--save-result", "--save-detailed", "--silent", "--port"];

test("help and docs/BENCH.md name the same flags", () => {
  expect(readOptions(["--help"], {})).toBe("help");
  const document = readFileSync(new globalThis.URL("../../docs/BENCH.md", import.meta.url), "utf8");
  const flagsIn = (text: string): string[] =>
    [...new Set(text.match(/(?<![\w-])--[a-z][a-z-]*/g))].filter((flag) => !FOREIGN.includes(flag)).sort();
  const helped = flagsIn(HELP);
  expect(helped.length).toBeGreaterThan(20);
  expect(flagsIn(document)).toEqual(helped);
  for (const flag of helped) {
    // Known: refused for its value or for want of a URL, never as unknown.
    const told = (): unknown => readOptions([flag, "x", "y"], {});
    expect(flag === "--help" ? "" : messageOf(told)).not.toMatch(/Unknown option/);
  }
});

function messageOf(work: () => unknown): string {
  try {
    return String(work());
  } catch (thrown) {
    return String(thrown);
  }
}

describe("the body", () => {
  it("asks for a stream with usage, and --extra-body has the last word", () => {
    const options = read(
      "--max-tokens",
      "7",
      "--ignore-eos",
      "--extra-body",
      '{"temperature":0}',
      "--prompt",
      "p",
      URL,
    );
    expect(bodyOf(options, "m", 0)).toEqual({
      model: "m",
      messages: [{ role: "user", content: "p" }],
      max_tokens: 7,
      stream: true,
      stream_options: { include_usage: true },
      ignore_eos: true,
      temperature: 0,
    });
  });

  it("has one limit of tokens", () => {
    const body = bodyOf(read("--extra-body", '{"max_completion_tokens":9}', URL), "m", 0);
    expect(body).toMatchObject({ max_completion_tokens: 9 });
    expect(body).not.toHaveProperty("max_tokens");
  });

  it("has a prompt of its own with --input-words", () => {
    const options = read("--input-words", "5", URL);
    expect(bodyOf(options, "m", 0)["messages"]).not.toEqual(bodyOf(options, "m", 1)["messages"]);
    expect(bodyOf(options, "m", 1)).toEqual(bodyOf(options, "m", 1));
  });
});
