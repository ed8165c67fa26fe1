/** The pages of docs/examples in a real Chromium, served by another server than the gateway, and from its own address. */
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Script } from "../../src/emulator/index.ts";
import { CHROMIUM, launch, MISSING } from "../support/chromium.ts";
import { startCuttingProxy } from "../support/cutting-proxy.ts";
import { builtAsDocumented, exampleText, type PageServer, servePages } from "../support/examples.ts";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";

const WORDS = Array.from({ length: 60 }, (_, index) => `wort${index}é`).join(" ");
const BEGINNING = WORDS.split(" ").slice(0, 3).join(" ");
const FAILURE = "The upstream stopped before the generation had ended.";
const FAILING: Script = { text: WORDS, fault: { kind: "eof", after_tokens: 3 } };
const REFUSING: Script = {
  fault: { kind: "status", status: 400, body: JSON.stringify({ error: { message: "That is too long." } }) },
};
const PAGE = exampleText("page.html");
const PATIENCE = { timeout: 20_000 };

test("the page has at most 30 lines", () => {
  expect(PAGE.trimEnd().split("\n").length).toBeLessThanOrEqual(30);
});

describe.skipIf(CHROMIUM === undefined)(`examples in Chromium${MISSING}`, () => {
  let pages: PageServer;
  let gateway: TestGateway;
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  let complaints: string[];

  beforeAll(async () => {
    pages = await servePages({
      "/page.html": PAGE,
      "/react-chat/": exampleText("react-chat/index.html"),
      "/react-chat/page.js": await builtAsDocumented(),
    });
    gateway = await startGateway({ env: { SLUICE_CORS_ORIGINS: pages.url } });
    browser = await launch();
  });
  afterAll(async () => {
    await browser?.close();
    await gateway?.close();
    await pages?.close();
  });
  beforeEach(async () => {
    complaints = [];
    gateway.emulator.reset();
    context = await browser.newContext();
    page = await context.newPage();
    page.on("pageerror", (error) => complaints.push(String(error)));
  });
  afterEach(async () => {
    await context?.close();
    expect(complaints).toEqual([]);
  });

  const open = async (path: string, address = gateway.url): Promise<void> => {
    await page.goto(`${pages.url}${path}?gateway=${address}`);
  };
  const ask = async (answer: Script): Promise<void> => {
    gateway.emulator.queue([answer]);
    await page.getByText("Ask").click();
  };

  describe("page.html", () => {
    const shown = (): Promise<string | null> => page.locator("pre").textContent();
    const state = (): Promise<string | null> => page.getByRole("status").textContent();
    const untilWord = (word: string): Promise<void> =>
      until(`${word} is shown`, async () => (await shown())?.includes(word) ?? false);

    test("shows an answer, and the next in its place", async () => {
      await open("/page.html");
      await ask({ text: WORDS, pace_ms: 2 });
      await expect.poll(state, PATIENCE).toBe("completed");
      expect(await shown()).toBe(WORDS);
      await page.getByLabel("Question").fill("And é?");
      await ask({ text: "And more." });
      await expect.poll(shown, PATIENCE).toBe("And more.");
      expect(JSON.parse(gateway.emulator.requests()[1]?.body ?? "").messages).toEqual([
        { role: "user", content: "And é?" },
      ]);
    });

    test("from the gateway's own address, it needs no other", async () => {
      await page.route("**/page.html", (route) => route.fulfill({ body: PAGE, contentType: "text/html" }));
      await page.goto(`${gateway.url}/page.html`);
      await ask({ text: WORDS });
      await expect.poll(state, PATIENCE).toBe("completed");
      expect(await shown()).toBe(WORDS);
    });

    test("cut off, it resumes, and shows everything once", async () => {
      const proxy = await startCuttingProxy(gateway.url);
      try {
        await open("/page.html", proxy.url);
        proxy.cut("/events", [4000]);
        await ask({ text: WORDS, pace_ms: 5 });
        await expect.poll(state, PATIENCE).toBe("completed");
        expect(await shown()).toBe(WORDS);
        expect(proxy.cuts).toBe(1);
        const [first, second] = proxy.requests.filter((head) => head.startsWith("GET "));
        expect(first).not.toMatch(/^last-event-id:/im);
        expect(second).toMatch(/^last-event-id: [1-9]/im);
      } finally {
        await proxy.close();
      }
    });

    test("reloaded in mid-answer, it shows the whole answer", async () => {
      await open("/page.html");
      await ask({ text: WORDS, pace_ms: 60 });
      await untilWord("wort5é");
      await page.reload();
      await expect.poll(state, PATIENCE).toBe("completed");
      expect(await shown()).toBe(WORDS);
      expect(gateway.emulator.stats.requests).toBe(1);
    });

    test("a failure in mid-answer is shown as one, after what had come", async () => {
      await open("/page.html");
      await ask(FAILING);
      await expect.poll(state, PATIENCE).toBe(`failed: ${FAILURE}`);
      expect(await shown()).toBe(BEGINNING);
    });

    test("a refusal is shown in its own words", async () => {
      await open("/page.html");
      await ask(REFUSING);
      await expect.poll(state, PATIENCE).toBe("failed: That is too long.");
    });

    test.each(["does not allow the page", "is not there"])("a gateway that %s is told", async (what) => {
      const other = await startGateway();
      try {
        if (what === "is not there") await other.close();
        await open("/page.html", other.url);
        await page.getByText("Ask").click();
        await expect.poll(state, PATIENCE).toBe("Failed to fetch");
      } finally {
        if (what !== "is not there") await other.close();
      }
    });

    test("a generation that the gateway no longer knows is lost", async () => {
      await page.goto(`${pages.url}/page.html?gateway=${gateway.url}#gen_gone`);
      await expect.poll(state, PATIENCE).toBe("lost");
    });
  });

  describe("react-chat", () => {
    const answers = (): Promise<string[]> => page.locator(".assistant").allTextContents();
    const status = (): Promise<string | null> => page.locator("main").getAttribute("data-status");

    test("shows an answer, the whole of it after a reload in its middle", async () => {
      await open("/react-chat/");
      await ask({ text: WORDS, pace_ms: 60 });
      await until("some words are shown", async () => (await answers()).join("").includes("wort5é"));
      await page.reload();
      await until("it is read again", async () => (await answers()).join("").includes("wort9é"));
      await expect.poll(status, PATIENCE).toBe("ready");
      expect(await answers()).toEqual([WORDS]);
      expect(gateway.emulator.stats.requests).toBe(1);
    });

    test("stops what it asked for", async () => {
      await open("/react-chat/");
      await ask({ text: WORDS, pace_ms: 100 });
      await until("some words are shown", async () => (await answers()).join("").includes("wort3é"));
      await page.getByText("Stop").click();
      await until("the upstream is given up", () => gateway.emulator.stats.aborted === 1);
      await expect.poll(status, PATIENCE).toBe("ready");
      const [shown = ""] = await answers();
      expect(shown).toContain("wort3é");
      expect(WORDS.startsWith(shown)).toBe(true);
      expect(shown.length).toBeLessThan(WORDS.length);
    });

    test("a failure in mid-answer is shown as one, after what had come", async () => {
      await open("/react-chat/");
      await ask(FAILING);
      await expect.poll(status, PATIENCE).toBe("error");
      expect(await page.getByRole("alert").textContent()).toBe(FAILURE);
      expect(await answers()).toEqual([BEGINNING]);
    });
  });
});
