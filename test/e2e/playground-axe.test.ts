/** The playground in each of its states, as axe-core judges it in a real Chromium: light and dark, on a phone and on a desk. */
import axe from "axe-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { CHROMIUM, launch, MISSING } from "../support/chromium.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import type { PlainUpstream } from "../support/plain-upstream.ts";
import { ask, open, textOf, untilEvents, untilStatus, visit } from "../support/playground.ts";
import { LESSON, startTeller, THOUGHT } from "../support/playground-upstream.ts";
import { post } from "../support/requests.ts";

const suite = CHROMIUM === undefined ? describe.skip : describe;
const LIMIT_MS = 120_000;

/** Nothing at all is found, what can be found is looked for, and nothing is wider than the page. */
async function expectSound(page: Page, state: string, width: number): Promise<void> {
  await page.evaluate(axe.source);
  const found = (await page.evaluate("axe.run()")) as axe.AxeResults;
  const violations = found.violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`,
  );
  expect(violations, state).toEqual([]);
  expect(
    found.passes.map(({ id }) => id),
    state,
  ).toContain("color-contrast");
  expect(await page.evaluate("document.documentElement.scrollWidth"), state).toBeLessThanOrEqual(width);
}

suite(`the playground's states in Chromium${MISSING}`, () => {
  let browser: Browser;
  let gateway: TestGateway;
  let guarded: TestGateway;
  let calling: TestGateway;
  let upstream: PlainUpstream;

  beforeAll(async () => {
    browser = await launch();
    gateway = await startGateway({ env: { SLUICE_MAX_CONCURRENCY: "1", SLUICE_MAX_QUEUE: "4" } });
    guarded = await startGateway({ env: { SLUICE_API_KEYS: "alice:sesame" } });
    upstream = await startTeller(() => [
      { tool_calls: [{ index: 0, id: "a", function: { name: "weather", arguments: '{"city":"Gent"}' } }] },
    ]);
    calling = await startGateway({ env: { OPENAI_BASE_URL: upstream.url } });
  });
  afterAll(async () => {
    await browser?.close();
    for (const one of [gateway, guarded, calling]) await one?.close();
    await upstream?.close();
  });
  afterEach(async () => {
    for (const context of browser.contexts()) await context.close();
  });

  describe.each([
    [375, "light"],
    [375, "dark"],
    [1280, "light"],
    [1280, "dark"],
  ] as const)("at %i px in the %s", (width, colorScheme) => {
    // The checker is put into the page from outside, which the page's own policy forbids.
    const options = { colorScheme, viewport: { width, height: 900 }, bypassCSP: true };

    test(
      "empty, queued, running, cut, beside, over, shared",
      async () => {
        gateway.emulator.script = () => ({ tokens: 100_000, pace_ms: 50 });
        const { page, context } = await visit(browser, gateway.url, options);
        await expectSound(page, "empty", width);
        const body = { request: { messages: [] }, on_disconnect: "continue" };
        const { id } = (await (await post(`${gateway.url}/v1/generations`, body)).json()) as { id: string };
        gateway.emulator.script = () => ({ text: LESSON, reasoning: THOUGHT, pace_ms: 60 });
        await ask(page, "sse");
        await untilStatus(page, "queued");
        await expectSound(page, "queued", width);
        await post(`${gateway.url}/v1/generations/${id}/cancel`, {});
        await untilEvents(page, 3);
        await expectSound(page, "reasoning", width);
        await page.getByTestId("cut").click();
        await untilEvents(page, 60);
        await page.getByTestId("beside").click();
        await expectSound(page, "cut, and beside it", width);
        await untilStatus(page, "completed");
        await page.getByText("Reasoning", { exact: true }).first().click();
        await expectSound(page, "over", width);
        const shared = await open(context, `${gateway.url}/#${await textOf(page, "generation")}`);
        await untilStatus(shared.page, "completed");
        await expectSound(shared.page, "shared", width);
      },
      LIMIT_MS,
    );

    test(
      "failed, stopped, calling tools, without a key",
      async () => {
        gateway.emulator.script = () => ({
          text: LESSON,
          pace_ms: 1,
          fault: { kind: "error_event", after_tokens: 20 },
        });
        const { page } = await visit(browser, gateway.url, options);
        await ask(page, "websocket");
        await untilStatus(page, "failed");
        await expectSound(page, "failed", width);
        gateway.emulator.script = () => ({ text: LESSON, pace_ms: 50 });
        await ask(page, "websocket");
        await untilEvents(page, 3);
        await page.keyboard.press("Escape");
        await untilStatus(page, "cancelled");
        await expectSound(page, "stopped", width);
        const caller = await visit(browser, calling.url, options);
        await ask(caller.page, "sse");
        await untilStatus(caller.page, "completed");
        await expectSound(caller.page, "calling tools", width);
        const guest = await visit(browser, guarded.url, options);
        await guest.page.getByTestId("key").waitFor();
        await expectSound(guest.page, "without a key", width);
      },
      LIMIT_MS,
    );
  });
});
