/** The project's own client in a page of the gateway's, in a real Chromium: from its source's parts and as the one file of the build. */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { rolldown } from "rolldown";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Generation } from "../../src/client/index.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";

const CHROMIUM = [
  process.env["SLUICE_CHROMIUM"],
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
].find((path) => path !== undefined && existsSync(path));

const FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"];
const TRANSPORTS = ["sse", "websocket"] as const;
const CLIENT = fileURLToPath(new URL("../../src/client/index.ts", import.meta.url));
const WORDS = Array.from({ length: 60 }, (_, index) => `wort${index}é`).join(" ");

declare global {
  /** What the functions below find in the page. */
  var loaded: { client: typeof import("../../src/client/index.ts"); generation: Generation };
}

/** What the build makes of it. */
async function bundled(): Promise<string> {
  const bundle = await rolldown({ input: CLIENT });
  const { output } = await bundle.generate({ format: "esm", minify: true });
  await bundle.close();
  return output[0].code;
}

const missing = " (skipped: no Chromium; apt-get install chromium, or set SLUICE_CHROMIUM)";
const suite = CHROMIUM === undefined ? describe.skip : describe;

suite(`the client in Chromium${CHROMIUM === undefined ? missing : ""}`, () => {
  let gateway: TestGateway;
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  let complaints: string[];

  beforeAll(async () => {
    gateway = await startGateway();
    browser = await chromium.launch({ executablePath: CHROMIUM ?? "", args: FLAGS });
  });
  afterAll(async () => {
    await browser?.close();
    await gateway?.close();
  });
  beforeEach(async () => {
    complaints = [];
    context = await browser.newContext();
    page = await context.newPage();
    page.on("pageerror", (error) => complaints.push(String(error)));
  });
  afterEach(async () => {
    await context?.close();
    expect(complaints).toEqual([]);
  });

  const load = async (): Promise<void> => {
    // As text: what compiles the tests would rewrite the import.
    await page.evaluate(`import("/client.js").then((client) => { globalThis.loaded = { client }; })`);
  };
  const open = async (): Promise<void> => {
    await page.goto(gateway.url);
    await load();
  };
  const start = (script: object, transport: "sse" | "websocket"): Promise<void> =>
    page.evaluate(
      ([emulator, wanted]) => {
        loaded.generation = loaded.client.generate({ messages: [], emulator }, { transport: wanted });
      },
      [script, transport] as const,
    );
  const untilPosition = (seq: number): Promise<unknown> =>
    page.waitForFunction((wanted) => loaded.generation.position >= wanted, seq);

  describe.each(["from source", "bundled"])("%s", (form) => {
    beforeEach(async () => {
      if (form === "bundled") {
        const body = await bundled();
        await page.route("**/client.js", (route) => route.fulfill({ body, contentType: "text/javascript" }));
      }
      await open();
    });

    test.each(TRANSPORTS)("reads its own gateway over %s", async (transport) => {
      await start({ text: WORDS, pace_ms: 5 }, transport);
      expect(await page.evaluate(() => loaded.generation.text())).toBe(WORDS);
      expect(await page.evaluate(() => loaded.generation.ended)).toMatchObject({ status: "completed" });
    });

    test.each(TRANSPORTS)(
      "reloaded in mid-answer over %s, it goes on from the stored position",
      async (transport) => {
        const { requests } = gateway.emulator.stats;
        await start({ text: WORDS, pace_ms: 40 }, transport);
        await untilPosition(8);
        const before = await page.evaluate(async () => {
          // What is on the page when it goes away.
          loaded.generation.leave();
          return { text: await loaded.generation.text(), position: loaded.generation.position };
        });
        await page.reload();
        await load();
        const after = await page.evaluate(async (wanted) => {
          const client = loaded.client.createClient({ transport: wanted });
          const [stored] = client.stored();
          if (stored === undefined) return undefined;
          const rest = await client.follow(stored).text();
          const whole = await client.follow(stored.generation).text();
          return { position: stored.position, rest, whole, left: client.stored().length };
        }, transport);
        expect(after).toEqual({
          position: before.position,
          rest: WORDS.slice(before.text.length),
          whole: WORDS,
          left: 0,
        });
        expect(before.text.length).toBeLessThan(WORDS.length);
        expect(gateway.emulator.stats.requests).toBe(requests + 1);
      },
    );
  });

  test.each(TRANSPORTS)(
    "started without a network, it begins when that is there over %s",
    async (transport) => {
      await open();
      await context.setOffline(true);
      await start({ text: WORDS }, transport);
      await page.waitForFunction("!navigator.onLine");
      await context.setOffline(false);
      expect(await page.evaluate(() => loaded.generation.text())).toBe(WORDS);
    },
  );

  test("the document's page shows the whole answer, reloaded in its middle", async () => {
    const document = readFileSync(new URL("../../docs/CLIENT.md", import.meta.url), "utf8");
    const body = /^```html\n([\s\S]*?)^```$/m.exec(document)?.[1] ?? "";
    await page.route("**/example", (route) => route.fulfill({ body, contentType: "text/html" }));
    gateway.emulator.queue([{ text: WORDS, pace_ms: 40 }]);
    await page.goto(`${gateway.url}/example`);
    await page.locator("button").click();
    const shown = page.locator("pre");
    await expect.poll(() => shown.textContent(), { timeout: 10_000 }).toContain("wort9é");
    await page.reload();
    await expect.poll(() => shown.getAttribute("data-status"), { timeout: 10_000 }).toBe("completed");
    expect(await shown.textContent()).toBe(WORDS);
  });

  test("a page that is closed leaves nothing running for longer than its policy says", async () => {
    await open();
    await page.evaluate(() => {
      const emulator = { text: "never read to its end", pace_ms: 60_000 };
      loaded.generation = loaded.client.generate({ messages: [], emulator }, { onDisconnect: "cancel" });
    });
    await untilPosition(1);
    await page.close();
    await expect.poll(() => gateway.emulator.stats.open, { timeout: 10_000 }).toBe(0);
  });
});
