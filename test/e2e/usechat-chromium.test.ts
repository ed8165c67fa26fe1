/** The page of docs/USECHAT.md, with the real `useChat`, in a real Chromium before a real gateway. */
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Script } from "../../src/emulator/index.ts";
import { CHROMIUM, launch, MISSING } from "../support/chromium.ts";
import { builtAsDocumented, exampleText } from "../support/examples.ts";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";

const WORDS = Array.from({ length: 60 }, (_, index) => `wort${index}é`).join(" ");
const HTML = exampleText("react-chat/index.html");
const PATIENCE = { timeout: 20_000 };

describe.skipIf(CHROMIUM === undefined)(`useChat in Chromium${MISSING}`, () => {
  let script: string;
  let gateway: TestGateway;
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  let complaints: string[];

  beforeAll(async () => {
    script = await builtAsDocumented();
    gateway = await startGateway();
    browser = await launch();
  });
  afterAll(async () => {
    await browser?.close();
    await gateway?.close();
  });
  beforeEach(async () => {
    complaints = [];
    gateway.emulator.reset();
    context = await browser.newContext();
    page = await context.newPage();
    page.on("pageerror", (error) => complaints.push(String(error)));
    await page.route("**/example", (route) => route.fulfill({ body: HTML, contentType: "text/html" }));
    await page.route("**/page.js", (route) =>
      route.fulfill({ body: script, contentType: "text/javascript; charset=utf-8" }),
    );
    await page.goto(`${gateway.url}/example`);
  });
  afterEach(async () => {
    await context?.close();
    expect(complaints).toEqual([]);
  });

  const ask = async (answer: Script): Promise<void> => {
    gateway.emulator.queue([answer]);
    await page.getByText("Ask").click();
  };
  const answers = (): Promise<string[]> => page.locator(".assistant").allTextContents();
  const status = (): Promise<string | null> => page.locator("main").getAttribute("data-status");
  const untilWords = (count: number): Promise<void> =>
    until(`${count} words are shown`, async () => (await answers()).join("").split(" ").length >= count);

  test("shows an answer, and the next in the same chat", async () => {
    await ask({ text: WORDS, reasoning: "Let me think." });
    await expect.poll(answers, PATIENCE).toEqual([WORDS]);
    await expect.poll(status, PATIENCE).toBe("ready");
    await ask({ text: "And more." });
    await expect.poll(answers, PATIENCE).toEqual([WORDS, "And more."]);
    const [, second] = gateway.emulator.requests();
    expect(JSON.parse(second?.body ?? "")).toMatchObject({
      model: "sluice-demo",
      messages: [
        { role: "user", content: "Tell me of locks." },
        { role: "assistant", content: WORDS },
        { role: "user", content: "Tell me of locks." },
      ],
    });
  });

  test("reloaded in mid-answer, it shows the whole answer once", async () => {
    await ask({ text: WORDS, pace_ms: 80 });
    await untilWords(9);
    const [before = ""] = await answers();
    await page.reload();
    await untilWords(9);
    await expect.poll(status, PATIENCE).toBe("ready");
    expect(await answers()).toEqual([WORDS]);
    expect(before.length).toBeLessThan(WORDS.length);
    expect(gateway.emulator.stats.requests).toBe(1);
  });

  test("an answer that ended while the page was away is whole when it is back", async () => {
    await ask({ text: WORDS, pace_ms: 20 });
    await untilWords(3);
    await page.goto("about:blank");
    await until("it has ended", () => gateway.emulator.stats.open === 0);
    await page.goto(`${gateway.url}/example`);
    await expect.poll(answers, PATIENCE).toEqual([WORDS]);
  });

  test("stop stops the upstream, and what had come stays", async () => {
    await ask({ text: WORDS, pace_ms: 100 });
    await untilWords(4);
    await page.getByText("Stop").click();
    await until("the upstream is given up", () => gateway.emulator.stats.aborted === 1);
    await expect.poll(status, PATIENCE).toBe("ready");
    const [shown = ""] = await answers();
    expect(shown).not.toBe("");
    expect(WORDS.startsWith(shown)).toBe(true);
    expect(shown.length).toBeLessThan(WORDS.length);
  });

  test("a failure in mid-answer is shown as one, with what had come", async () => {
    await ask({ text: WORDS, fault: { kind: "eof", after_tokens: 3 } });
    await expect.poll(status, PATIENCE).toBe("error");
    expect(await page.getByRole("alert").textContent()).toBe(
      "The upstream stopped before the generation had ended.",
    );
    expect(await answers()).toEqual([WORDS.split(" ").slice(0, 3).join(" ")]);
  });

  test("a refusal is shown in its own words", async () => {
    const body = JSON.stringify({ error: { message: "That is too long." } });
    await ask({ fault: { kind: "status", status: 400, body } });
    await expect.poll(status, PATIENCE).toBe("error");
    expect(await page.getByRole("alert").textContent()).toBe("That is too long.");
  });
});
