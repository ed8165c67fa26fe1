/** The programs of docs/examples, each run as its user runs it. Its pages are in test/e2e/examples-chromium.test.ts. */
import { spawnSync } from "node:child_process";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Script } from "../../src/emulator/index.ts";
import { type CuttingProxy, startCuttingProxy } from "../support/cutting-proxy.ts";
import { documentText, NODE, NODE_WITH_CLIENT, type Ran, start } from "../support/examples.ts";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import { filesIn } from "../support/imports.ts";
import { python } from "../support/python.ts";

const WORDS = Array.from({ length: 60 }, (_, index) => `wort${index}é`).join(" ");
const BEGINNING = WORDS.split(" ").slice(0, 3).join(" ");
const FAILURE = "The upstream stopped before the generation had ended.";
const FAILING: Script = { text: WORDS, fault: { kind: "eof", after_tokens: 3 } };
const REFUSING: Script = {
  fault: { kind: "status", status: 400, body: JSON.stringify({ error: { message: "That is too long." } }) },
};

const can = (program: string | undefined, ...args: readonly string[]): boolean =>
  program !== undefined && spawnSync(program, args).status === 0;
const hasCurl = can("curl", "--version");
const hasRequests = can(python, "-c", "import requests");

let gateway: TestGateway;
let proxy: CuttingProxy;
beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(() => gateway?.close());
beforeEach(async () => {
  gateway.emulator.reset();
  proxy = await startCuttingProxy(gateway.url);
});
afterEach(() => proxy?.close());

test("every file stands in the document, and every file that it names is there", () => {
  const named = [...documentText().matchAll(/\]\(examples\/(\S+?)\)/g)].map(([, file]) => file as string);
  const there = filesIn("docs/examples").map((file) => file.slice("docs/examples/".length));
  // What a bundler makes, and what it makes it with, is no example by itself.
  const shown = there.filter((file) => !/^react-chat\/(index\.html|main\.jsx|page\.js)$/.test(file));
  expect([...new Set(named)].sort()).toEqual(shown);
  const run = [...documentText().matchAll(/^ {4}\S+ docs\/examples\/(\S+)/gm)].map(
    ([, file]) => file as string,
  );
  expect(run.sort()).toEqual(["chat.sh", ...PROGRAMS.map(({ file }) => file)].sort());
});

interface Program {
  readonly file: string;
  readonly command: readonly string[];
  /** Why it cannot be run here. */
  readonly missing?: string;
  /** It connects again where it is cut off, instead of taking a question as its argument. */
  readonly resumes?: boolean;
}

const noPython = (has: boolean, name: string): object =>
  has ? {} : { missing: ` (skipped: no python with ${name}; see .ci/run)` };

const PROGRAMS: readonly Program[] = [
  { file: "node.mjs", command: NODE },
  { file: "node-client.mjs", command: NODE_WITH_CLIENT, resumes: true },
  { file: "openai_stream.py", command: [python ?? ""], ...noPython(python !== undefined, "openai") },
  { file: "chat_requests.py", command: [python ?? ""], ...noPython(hasRequests, "requests") },
];

for (const { file, command, missing = "", resumes = false } of PROGRAMS) {
  describe.skipIf(missing !== "")(`${file}${missing}`, () => {
    const run = (script: Script, ...args: readonly string[]): Promise<Ran> => {
      gateway.emulator.queue([script]);
      return start(command, file, gateway.url, args).ended;
    };
    // No test of the one that does, rather than a skipped one.
    const unlessItResumes = (name: string, body: () => Promise<void>): void => {
      if (!resumes) test(name, body);
    };
    const asked = (): unknown => JSON.parse(gateway.emulator.requests()[0]?.body ?? "").messages;

    test("prints the answer, and nothing else", async () => {
      expect(await run({ text: WORDS, pace_ms: 2 })).toEqual({ code: 0, stdout: `${WORDS}\n`, stderr: "" });
      expect(asked()).toEqual([{ role: "user", content: "Tell me of locks." }]);
    });

    unlessItResumes("asks what it is given", async () => {
      await run({ text: WORDS }, "Why é?");
      expect(asked()).toEqual([{ role: "user", content: "Why é?" }]);
    });

    test("an upstream that fails in mid-answer is told, and is an error", async () => {
      const { code, stdout, stderr } = await run(FAILING);
      expect([code, stdout]).toEqual([1, BEGINNING]);
      expect(stderr).toContain("\nThe answer is not whole: ");
      // Bare text has no place for the reason.
      if (file !== "chat_requests.py") expect(stderr).toContain(FAILURE);
    });

    test("a refusal is told in its own words", async () => {
      const { code, stdout, stderr } = await run(REFUSING);
      expect([code, stdout]).toEqual([1, ""]);
      expect(stderr).toContain("That is too long.");
    });

    unlessItResumes("a gateway that is not there is an error", async () => {
      await proxy.close();
      const { code, stdout, stderr } = await start(command, file, proxy.url).ended;
      expect([code, stdout]).toEqual([1, ""]);
      expect(stderr).toContain("\nThe answer is not whole: ");
    });

    unlessItResumes("a connection that is cut is an error, after what had come", async () => {
      gateway.emulator.queue([{ text: WORDS }]);
      proxy.cut("/chat", [900]);
      const { code, stdout, stderr } = await start(command, file, proxy.url).ended;
      expect([proxy.cuts, code]).toEqual([1, 1]);
      expect(stderr).toContain("\nThe answer is not whole: ");
      expect(WORDS.startsWith(stdout)).toBe(true);
      expect(stdout.length).toBeLessThan(WORDS.length);
    });
  });
}

describe("node-client.mjs, cut off", () => {
  const run = (url: string, ...args: readonly string[]): ReturnType<typeof start> =>
    start(NODE_WITH_CLIENT, "node-client.mjs", url, args);

  test("resumes by itself, as often as it takes", async () => {
    gateway.emulator.queue([{ text: WORDS, pace_ms: 5 }]);
    proxy.cut("/v1/ws", [2500, 3000]);
    const { code, stdout, stderr } = await run(proxy.url).ended;
    expect([code, stdout]).toEqual([0, `${WORDS}\n`]);
    expect(proxy.cuts).toBe(2);
    expect(stderr.match(/The connection is lost/g)?.length).toBe(2);
    expect(gateway.emulator.stats.requests).toBe(1);
  });

  test("stopped, it goes on in another process where it was", async () => {
    gateway.emulator.queue([{ text: WORDS, pace_ms: 50 }]);
    const first = run(gateway.url);
    await until("some words are printed", () => first.stdout().includes("wort5é"));
    first.child.kill("SIGINT");
    const stopped = await first.ended;
    expect(stopped.code).toBe(130);
    const [, id = "", after = ""] =
      /^\nGo on with: node \S+node-client\.mjs (\S+) (\d+)\n$/.exec(stopped.stderr) ?? [];
    const rest = await run(gateway.url, id, after).ended;
    expect(stopped.stdout.length).toBeLessThan(WORDS.length);
    expect(rest).toEqual({ code: 0, stdout: `${WORDS.slice(stopped.stdout.length)}\n`, stderr: "" });
    expect(gateway.emulator.stats.requests).toBe(1);
  });

  test("from the start in another process, it prints everything again", async () => {
    gateway.emulator.queue([{ text: WORDS, pace_ms: 50 }]);
    const first = run(gateway.url);
    await until("some words are printed", () => first.stdout().includes("wort5é"));
    first.child.kill("SIGINT");
    const id = /gen_\S+/.exec((await first.ended).stderr)?.[0] ?? "";
    expect((await run(gateway.url, id).ended).stdout).toBe(`${WORDS}\n`);
  });
});

describe.skipIf(!hasCurl)(`chat.sh${hasCurl ? "" : " (skipped: no curl; apt-get install curl)"}`, () => {
  const run = (scripts: readonly Script[]): Promise<Ran> => {
    gateway.emulator.queue(scripts);
    return start(["sh"], "chat.sh", gateway.url).ended;
  };
  const paced: Script = { text: WORDS, pace_ms: 3 };
  /** What stands below each heading. */
  const sections = (stdout: string): string[] => stdout.split(/^# .*\n/m).slice(1);
  const payloads = (wire: string): string[] =>
    [...wire.matchAll(/^data: (\{.*"choices".*\})$/gm)].map(([, json]) => json as string);
  const textOf = (wire: string): string =>
    payloads(wire)
      .map((json) => JSON.parse(json).choices[0]?.delta.content ?? "")
      .join("");
  const idsOf = (wire: string): number[] => [...wire.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id));

  test("prints one answer in three ways, the third whole over two connections", async () => {
    const { code, stdout, stderr } = await run([paced, paced, paced]);
    expect([code, stderr]).toEqual([0, ""]);
    const [bare = "", stock = "", first = "", rest = ""] = sections(stdout);
    expect(bare).toBe(`${WORDS}\n\n`);
    expect(textOf(stock)).toBe(WORDS);
    expect(stock.endsWith("data: [DONE]\n\n")).toBe(true);
    const ids = idsOf(rest);
    expect(idsOf(first)).toEqual(Array.from({ length: 10 }, (_, index) => index + 1));
    expect(ids).toEqual(Array.from({ length: ids.length }, (_, index) => index + 11));
    expect(textOf(first + rest)).toBe(WORDS);
    expect(rest).toMatch(/\nevent: end\ndata: \{"status":"completed".*\}\n\n$/);
    expect(gateway.emulator.stats.requests).toBe(3);
  });

  test("an answer that is shorter than the cut is whole", async () => {
    const short: Script = { text: "Water finds its level." };
    const { code, stdout } = await run([short, short, short]);
    const [, , first = "", rest = ""] = sections(stdout);
    expect([code, textOf(first), rest]).toEqual([0, "Water finds its level.", ""]);
  });

  test("bare text whose upstream fails ends it", async () => {
    const { code, stdout, stderr } = await run([FAILING]);
    expect(sections(stdout)).toEqual([BEGINNING]);
    // 18: the transfer was not whole; 56: the connection was reset.
    expect(code).toBeOneOf([18, 56]);
    expect(stderr).toMatch(/^curl: /);
  });

  test("a stream without [DONE] ends it", async () => {
    const { code, stdout, stderr } = await run([paced, FAILING]);
    expect([code, stderr]).toEqual([1, "chat.sh: the stream did not end well\n"]);
    const [, stock = ""] = sections(stdout);
    expect([textOf(stock), stock.includes(FAILURE)]).toEqual([BEGINNING, true]);
  });

  test.each([
    ["before the cut", 3],
    ["after it", 30],
  ])("a generation that fails %s ends it", async (_when, tokens) => {
    const fault = { kind: "eof", after_tokens: tokens } as const;
    const { code, stdout, stderr } = await run([paced, paced, { text: WORDS, pace_ms: 3, fault }]);
    expect([code, stderr]).toEqual([1, "chat.sh: the generation did not end well\n"]);
    const [, , first = "", rest = ""] = sections(stdout);
    expect(textOf(first + rest)).toBe(WORDS.split(" ").slice(0, tokens).join(" "));
    expect(first + rest).toContain(FAILURE);
  });

  test("a refusal is shown and ends it", async () => {
    const { code, stdout } = await run([paced, REFUSING]);
    expect(code).toBe(1);
    expect(sections(stdout)[1]).toContain("That is too long.");
  });
});
