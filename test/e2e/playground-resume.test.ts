/** The playground when lines break: cut, reloaded, queued, followed twice; in a real Chromium before a real gateway. */
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Script } from "../../src/emulator/index.ts";
import { CHROMIUM, launch, MISSING } from "../support/chromium.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import {
  ask,
  choose,
  copied,
  open,
  seamOf,
  TEXT,
  type Transport,
  textOf,
  untilEvents,
  untilStatus,
  type Visit,
  visit,
} from "../support/playground.ts";
import { post } from "../support/requests.ts";

const suite = CHROMIUM === undefined ? describe.skip : describe;
const LABELS = { sse: "SSE", websocket: "WebSocket" };

suite(`the playground's lines in Chromium${MISSING}`, () => {
  let gateway: TestGateway;
  let browser: Browser;
  let here: Visit;
  /** Requests that the upstream got. */
  let asked: number;

  const tell = (script: Script): void => {
    asked = 0;
    gateway.emulator.script = () => {
      asked++;
      return script.tokens === undefined ? { text: TEXT, ...script } : script;
    };
  };

  beforeAll(async () => {
    gateway = await startGateway({ env: { SLUICE_MAX_CONCURRENCY: "2", SLUICE_MAX_QUEUE: "8" } });
    browser = await launch();
  });
  afterAll(async () => {
    await browser?.close();
    await gateway?.close();
  });
  beforeEach(async () => {
    tell({ first_token_ms: 60, pace_ms: 40 });
    here = await visit(browser, gateway.url);
  });
  afterEach(async () => {
    for (const context of browser.contexts()) await context.close();
  });

  /** It is whole, it was asked for once, and the page says truly where it was cut and went on. */
  async function expectWhole(page: Page, why: string): Promise<number> {
    await untilStatus(page, "completed");
    expect(await textOf(page, "output")).toBe(TEXT);
    expect(asked).toBe(1);
    const { after, next, text } = await seamOf(page);
    expect(text).toMatch(new RegExp(why));
    expect(next).toBe(after + 1);
    expect(await page.getByTestId("output").locator(".seam").count()).toBe(1);
    expect(await page.getByTestId("output").locator(".seam").getAttribute("aria-label")).toBe(text);
    expect(await textOf(page, "reconnects")).toBe("1");
    return after;
  }

  test("a line cut in mid-answer on SSE resumes after the last event that was seen", async () => {
    const { page, resumedAfter } = here;
    await ask(page, "sse");
    await untilEvents(page, 6);
    await page.getByTestId("cut").click();
    const after = await expectWhole(page, "Cut after seq");
    expect(after).toBeGreaterThan(0);
    expect(resumedAfter).toEqual(["0", String(after)]);
    expect(await page.getByTestId("trace").getAttribute("aria-label")).toContain("cut or lost once");
  });

  test.each<[Transport, Transport]>([
    ["websocket", "sse"],
    ["sse", "websocket"],
    ["websocket", "websocket"],
  ])("a line cut on %s resumes on %s", async (before, next) => {
    const { page } = here;
    await ask(page, before);
    await untilEvents(page, 6);
    await choose(page, next);
    await page.getByTestId("cut").click();
    await expectWhole(page, `on ${LABELS[before]}; went on at seq \\d+ over ${LABELS[next]} `);
    expect(await textOf(page, "transport")).toBe(LABELS[next]);
  });

  test.each<Transport>(["sse", "websocket"])(
    "a line cut on %s before the first token starts no second generation",
    async (transport) => {
      const { page } = here;
      tell({ first_token_ms: 2500, pace_ms: 5 });
      await ask(page, transport);
      await untilStatus(page, "waiting for the first token");
      await page.getByTestId("cut").click();
      await untilStatus(page, "completed");
      expect(await textOf(page, "output")).toBe(TEXT);
      expect(asked).toBe(1);
      expect((await seamOf(page)).text).toMatch(/^Cut before the first event on .* went on at seq 1 over/);
      expect(await page.getByTestId("output").locator(".seam").count()).toBe(0);
    },
  );

  test.each<Transport>(["sse", "websocket"])(
    "a reload in mid-answer over %s keeps what there was, and follows on to the end",
    async (transport) => {
      const { page } = here;
      await ask(page, transport);
      await untilEvents(page, 10);
      const before = await textOf(page, "output");
      await page.reload();
      expect((await textOf(page, "output")).startsWith(before.slice(0, 20))).toBe(true);
      const after = await expectWhole(page, "Page reloaded after seq");
      expect(after).toBeGreaterThanOrEqual(10);
      expect(await textOf(page, "question")).toContain("Tell me of locks.");
      await page.reload();
      expect(await textOf(page, "output")).toBe(TEXT);
      expect(await textOf(page, "status")).toBe("completed");
    },
  );

  test.each<Transport>(["sse", "websocket"])(
    "a reload right after asking over %s starts no second generation",
    async (transport) => {
      const { page } = here;
      tell({ first_token_ms: 1500, pace_ms: 5 });
      await ask(page, transport);
      await page.reload();
      await untilStatus(page, "completed");
      expect(await textOf(page, "output")).toBe(TEXT);
      expect(asked).toBe(1);
    },
  );

  test("what the gateway has forgotten is told as lost, with what had come", async () => {
    const lost = await startGateway();
    lost.emulator.script = () => ({ text: TEXT, pace_ms: 40 });
    const { page } = await visit(browser, lost.url);
    await ask(page, "sse");
    await untilEvents(page, 6);
    await page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide'))");
    await lost.close();
    await untilStatus(page, "reconnecting");
    const again = await startGateway({ env: { PORT: new URL(lost.url).port } });
    await untilStatus(page, "failed");
    expect(await textOf(page, "error")).toMatch(/^generation_lost /);
    const kept = await textOf(page, "output");
    expect(kept.length > 0 && TEXT.startsWith(kept)).toBe(true);
    await again.close();
  });

  test.each<Transport>(["sse", "websocket"])(
    "while it waits over %s, its place in the queue is shown; then how long it waited",
    async (transport) => {
      const { page } = here;
      tell({ tokens: 100_000, pace_ms: 20 });
      const others: string[] = [];
      for (let n = 0; n < 3; n++) {
        const body = { request: { messages: [] }, on_disconnect: "continue" };
        others.push(
          ((await (await post(`${gateway.url}/v1/generations`, body)).json()) as { id: string }).id,
        );
      }
      const cancel = (id: string) => post(`${gateway.url}/v1/generations/${id}/cancel`, {});
      await ask(page, transport);
      await untilStatus(page, "queued");
      await expect.poll(() => textOf(page, "queue")).toBe("2");
      expect(await textOf(page, "news")).toBe("Queued, position 2");
      await cancel(others[2] ?? "");
      await expect.poll(() => textOf(page, "queue"), { timeout: 10_000 }).toBe("1");
      tell({ pace_ms: 1 });
      await cancel(others[0] ?? "");
      await untilStatus(page, "completed");
      expect(await textOf(page, "queue")).toMatch(/^[\d.]+ m?s$/);
      expect(await textOf(page, "output")).toBe(TEXT);
      await cancel(others[1] ?? "");
    },
  );

  test.each<Transport>(["sse", "websocket"])(
    "what began over %s is followed live over the other beside it, with the same text",
    async (transport) => {
      const { page } = here;
      await ask(page, transport);
      await untilEvents(page, 6);
      await page.getByTestId("beside").click();
      const outputs = page.getByTestId("output");
      await expect.poll(async () => ((await outputs.nth(1).textContent()) ?? "").length).toBeGreaterThan(0);
      expect(await textOf(page, "status")).toBe("running");
      await untilStatus(page, "completed");
      await expect
        .poll(() => page.getByTestId("status").allTextContents())
        .toEqual(["completed", "completed"]);
      expect(await outputs.allTextContents()).toEqual([TEXT, TEXT]);
      const labels = transport === "sse" ? ["SSE", "WebSocket"] : ["WebSocket", "SSE"];
      expect(await page.getByTestId("transport").allTextContents()).toEqual(labels);
      const [events, eventsBeside] = await page.getByTestId("events").allTextContents();
      expect(eventsBeside).toBe(events);
      expect(asked).toBe(1);
      await page.getByTestId("beside").click();
      expect(await outputs.count()).toBe(1);
    },
  );

  test("a shared link follows the same generation in another tab, which can stop it", async () => {
    const { page, context } = here;
    await ask(page, "sse");
    await untilEvents(page, 6);
    const link = await copied(page, "share");
    expect(link).toBe(`${gateway.url}/#${await textOf(page, "generation")}`);
    const tab = await open(context, link);
    expect(await tab.page.getByTestId("prompt").isVisible()).toBe(false);
    await untilStatus(tab.page, "completed");
    await untilStatus(page, "completed");
    expect(await textOf(tab.page, "output")).toBe(TEXT);
    expect(await textOf(page, "output")).toBe(TEXT);
    expect(asked).toBe(1);
    expect(tab.complaints).toEqual([]);
    // The other tab's own conversation is the one that is kept.
    await tab.page.getByText("Your own conversation").click();
    await expect.poll(() => textOf(tab.page, "question")).toContain("Tell me of locks.");
  });

  test("Escape in the tab of a shared link stops it for both", async () => {
    const { page, context } = here;
    tell({ tokens: 100_000, pace_ms: 20 });
    await ask(page, "websocket");
    await untilEvents(page, 3);
    const tab = await open(context, `${gateway.url}/#${await textOf(page, "generation")}`);
    await untilEvents(tab.page, 3);
    await tab.page.keyboard.press("Escape");
    await untilStatus(tab.page, "cancelled");
    await untilStatus(page, "cancelled");
  });

  test("where keys are needed, a shared link asks for one, and shows nothing to another owner's", async () => {
    const guarded = await startGateway({ env: { SLUICE_API_KEYS: "alice:sesame,bob:barley" } });
    guarded.emulator.script = () => ({ text: TEXT, pace_ms: 40 });
    const owner = await visit(browser, guarded.url);
    await owner.page.getByTestId("key").fill("sesame");
    await owner.page.getByTestId("key").press("Enter");
    await ask(owner.page, "sse");
    await untilEvents(owner.page, 3);
    const link = `${guarded.url}/#${await textOf(owner.page, "generation")}`;
    expect(link).not.toContain("sesame");
    const tell = async (key: string): Promise<Page> => {
      const { page } = await visit(browser, link);
      await untilStatus(page, "waiting for a key");
      expect(await textOf(page, "output")).toBe("");
      await page.getByTestId("key").fill(key);
      await page.getByTestId("key").press("Enter");
      return page;
    };
    const other = await tell("barley");
    await untilStatus(other, "failed");
    expect(await textOf(other, "error")).toMatch(/^generation_not_found /);
    expect(await textOf(other, "output")).toBe("");
    const own = await tell("sesame");
    await untilStatus(own, "completed");
    expect(await textOf(own, "output")).toBe(TEXT);
    await guarded.close();
  });
});
