/** `curl -N` against the gateway: the answers that a terminal shows, and a curl that is killed. */
import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { promisify } from "node:util";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Script } from "../../src/emulator/index.ts";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import { look, startGeneration, streamed, word } from "../support/requests.ts";

const TEXT = 'Water & <b>weight</b> "only" — ganz für sich, 水門 🚣 and the end.';
const ENDLESS: Script = { tokens: 100_000, pace_ms: 5 };

const hasCurl = spawnSync("curl", ["--version"]).status === 0;
const suite = hasCurl ? describe : describe.skip;
const run = promisify(execFile);

/** `-N`: as it comes. */
const curl = async (...args: readonly string[]): Promise<string> =>
  (await run("curl", ["-sS", "-N", ...args], { maxBuffer: 64 * 1024 * 1024 })).stdout;

const json = (body: object): string[] => ["-H", "content-type: application/json", "-d", JSON.stringify(body)];

suite(`curl${hasCurl ? "" : " (skipped: no curl; apt-get install curl)"}`, () => {
  let gateway: TestGateway;

  beforeAll(async () => {
    // Long enough for a curl to start on a busy machine.
    gateway = await startGateway({ env: { SLUICE_DISCONNECT_GRACE_MS: "3000" } });
  });
  afterAll(() => gateway?.close());
  beforeEach(() => gateway.emulator.reset());

  function say(script: Script): void {
    gateway.emulator.script = () => script;
  }

  test("/chat as bare text", async () => {
    say({ text: TEXT, pace_ms: 2 });
    const body = json({ prompt: "Tell me of locks." });
    expect(await curl(`${gateway.url}/chat`, ...body, "-H", "accept: text/plain")).toBe(TEXT);
  });

  test("/chat by GET, with nothing but an address", async () => {
    say({ text: TEXT });
    const shown = await curl(`${gateway.url}/chat?prompt=hello`);
    const texts = shown.split("\n").filter((line) => line.startsWith('data: {"text"'));
    expect(texts.map((line) => (JSON.parse(line.slice(6)) as { text: string }).text).join("")).toBe(TEXT);
    expect(shown).toMatch(/\nevent: done\ndata: \{.*\}\n\n$/);
  });

  test("/chat as bare text whose upstream is cut: curl fails, since nothing in the text could tell", async () => {
    say({ text: "so far so good", fault: { kind: "reset", after_tokens: 3 } });
    const body = json({ prompt: "Tell me of locks." });
    const asked = curl(`${gateway.url}/chat`, ...body, "-H", "accept: text/plain");
    // 18: the transfer was not whole; 56: the connection was reset.
    await expect(asked).rejects.toMatchObject({ code: expect.toBeOneOf([18, 56]) });
  });

  test("/v1/chat/completions on the stock wire", async () => {
    const wire = await curl(
      `${gateway.url}/v1/chat/completions`,
      ...json(streamed({ text: TEXT, pace_ms: 2 })),
    );
    const blocks = wire.split("\n\n").slice(0, -1);
    expect(blocks.every((block) => block.startsWith("data: ") && !block.includes("\n"))).toBe(true);
    expect(blocks.at(-1)).toBe("data: [DONE]");
    expect(
      blocks
        .slice(0, -1)
        .map((block) => word(block.slice(6)))
        .join(""),
    ).toBe(TEXT);
  });

  test("headers, with HTTP/1.0 too", async () => {
    const url = `${gateway.url}/v1/chat/completions`;
    for (const version of ["--http1.0", "--http1.1"]) {
      const shown = await curl("-i", version, url, ...json(streamed({ text: TEXT })));
      expect(shown).toMatch(/^HTTP\/1\.[01] 200 OK\r\n/);
      expect(shown).toContain("content-type: text/event-stream; charset=utf-8\r\n");
      expect(shown).toContain("cache-control: no-cache, no-transform\r\n");
      expect(shown).toMatch(/x-generation-id: gen_[\w-]+\r\n/);
      expect(shown.endsWith("data: [DONE]\n\n")).toBe(true);
    }
  });

  test("a generation and its events, from the start and from every seq", async () => {
    const request = { model: "sluice-demo", messages: [{ role: "user", content: "hello" }] };
    say({ text: TEXT, pace_ms: 2 });
    const created = JSON.parse(await curl(`${gateway.url}/v1/generations`, ...json({ request }))) as {
      id: string;
      events_url: string;
    };
    const url = gateway.url + created.events_url;
    const whole = await curl(url);
    const { last_seq: last } = await look(gateway.url, created.id);
    expect(whole.match(/^id: \d+$/gm)?.map((line) => Number(line.slice(4)))).toEqual(
      Array.from({ length: last }, (_, index) => index + 1),
    );
    expect(whole).toMatch(/\nevent: end\ndata: \{"status":"completed".*\}\n\n$/);
    for (let seq = 1; seq < last; seq++) {
      const rest = await curl(url, "-H", `Last-Event-ID: ${seq}`);
      expect(rest).toBe(whole.slice(whole.indexOf(`id: ${seq + 1}\n`)));
    }
    const status = ["-o", "/dev/null", "-w", "%{http_code}"];
    expect(await curl(url, "-H", `Last-Event-ID: ${last}`, ...status)).toBe("204");
    expect(await curl(url, "-H", `Last-Event-ID: ${last + 1}`, ...status)).toBe("400");
  });

  describe("killed in mid-answer", () => {
    /** A curl that has shown its first bytes. */
    async function started(...args: readonly string[]): Promise<ChildProcess> {
      const child = spawn("curl", ["-sS", "-N", ...args], { stdio: ["ignore", "pipe", "ignore"] });
      await once(child.stdout, "data");
      return child;
    }

    async function kill(child: ChildProcess): Promise<void> {
      const gone = once(child, "exit");
      child.kill("SIGKILL");
      await gone;
    }

    test.each<[string, (url: string) => string[]]>([
      ["/chat", (url) => [`${url}/chat`, ...json({ prompt: "hello" }), "-H", "accept: text/plain"]],
      ["/v1/chat/completions", (url) => [`${url}/v1/chat/completions`, ...json(streamed(ENDLESS))]],
    ])("on %s the upstream sees the abort", async (_path, args) => {
      say(ENDLESS);
      const child = await started(...args(gateway.url));
      expect(gateway.emulator.stats.open).toBe(1);
      await kill(child);
      await until("the upstream is given up", () => gateway.emulator.stats.aborted === 1);
      expect(gateway.emulator.stats.open).toBe(0);
    });

    test("before its first token too", async () => {
      say({ text: TEXT, first_token_ms: 60_000 });
      const args = [`${gateway.url}/v1/chat/completions`, ...json(streamed({}))];
      const child = spawn("curl", ["-sS", "-N", ...args], { stdio: "ignore" });
      await until("the upstream was asked", () => gateway.emulator.stats.open === 1);
      await kill(child);
      await until("the upstream is given up", () => gateway.emulator.stats.aborted === 1);
    });

    test("on a generation's events it goes on for the grace, and then ends as cancelled", async () => {
      const { id } = await startGeneration(gateway.url, ENDLESS);
      const child = await started(`${gateway.url}/v1/generations/${id}/events`);
      await kill(child);
      await until("the upstream is given up", () => gateway.emulator.stats.aborted === 1);
      expect(await look(gateway.url, id)).toMatchObject({ status: "cancelled", readers: 0 });
    });

    test("with another reader there, nothing is given up", async () => {
      const { id } = await startGeneration(gateway.url, { text: TEXT, pace_ms: 60 });
      const url = `${gateway.url}/v1/generations/${id}/events`;
      const other = curl(url);
      await kill(await started(url));
      expect(await other).toMatch(/\nevent: end\ndata: \{"status":"completed"/);
    });
  });
});
