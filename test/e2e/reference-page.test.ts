/** The reference page in a real Chromium, before a real gateway. */
import axe from "axe-core";
import fastify from "fastify";
import type { Browser, BrowserContextOptions, Locator, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { createGateway } from "../../src/index.ts";
import { CHROMIUM, type Conduct, launch, MISSING, watch } from "../support/chromium.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { OPERATIONS } from "../support/openapi.ts";

const suite = CHROMIUM === undefined ? describe.skip : describe;
const KEY = "sk-alice-0123456789abcdef";

interface Visit extends Conduct {
  readonly page: Page;
}

suite(`the reference page in Chromium${MISSING}`, () => {
  let browser: Browser;
  const closing: (() => Promise<unknown>)[] = [];

  async function start(env: Readonly<Record<string, string>> = {}): Promise<TestGateway> {
    const gateway = await startGateway({ env, emulator: { defaults: { first_token_ms: 0, pace_ms: 0 } } });
    closing.push(() => gateway.close());
    return gateway;
  }

  async function open(url: string, options: BrowserContextOptions = {}): Promise<Visit> {
    const page = await (await browser.newContext(options)).newPage();
    const conduct = watch(page);
    await page.goto(`${url}/reference`);
    await page.locator(".opblock").first().waitFor();
    return { ...conduct, page };
  }

  /** Opens an operation, sends its example, and gives the status that is shown. */
  async function tryOut(page: Page, operation: string): Promise<{ status: string; block: Locator }> {
    const block = page.locator(`.opblock[id$="-${operation}"]`);
    await block.locator(".opblock-summary-control").click();
    await block.getByRole("button", { name: "Try it out" }).click();
    await block.getByRole("button", { name: "Execute" }).click();
    const status = block.locator(".live-responses-table tbody .response-col_status").first();
    await status.waitFor();
    return { status: (await status.textContent()) ?? "", block };
  }

  beforeAll(async () => {
    browser = await launch();
  });
  afterEach(async () => {
    for (const context of browser.contexts()) await context.close();
    for (const close of closing.splice(0).reverse()) await close();
  });
  afterAll(() => browser?.close());

  test("lists every operation, and asks nobody else for anything", async () => {
    const { url } = await start();
    const { page, complaints, requests } = await open(url);
    const ids = await page.locator(".opblock").evaluateAll((blocks) => blocks.map(({ id }) => id));
    const listed = ids.map((id) => id.slice(id.lastIndexOf("-") + 1));
    expect(listed.sort()).toEqual(OPERATIONS.map(({ operationId }) => operationId).sort());
    expect(requests.filter((request) => !request.startsWith(`${url}/`))).toEqual([]);
    expect(requests).toContain(`${url}/reference/swagger-ui-bundle.js`);
    expect(complaints).toEqual([]);
  });

  test("is kept to the gateway's own files by its content security policy", async () => {
    const { url } = await start();
    const policy = (await fetch(`${url}/reference`)).headers.get("content-security-policy") ?? "";
    expect(policy).toContain("default-src 'none'; script-src 'self'; style-src 'self';");
    expect(policy).not.toMatch(/unsafe|\*|https?:/);
  });

  test("tries requests out, a stream among them", async () => {
    const { url } = await start();
    const { page, complaints, requests } = await open(url);
    expect((await tryOut(page, "live")).status).toBe("200");
    expect(requests).toContain(`${url}/livez`);
    const { status, block } = await tryOut(page, "createChatCompletion");
    expect(status).toBe("200");
    await expect.poll(() => block.locator(".live-responses-table").textContent()).toContain("data: [DONE]");
    // No optional header is filled in: with one key for all, the next question would be a conflict.
    expect(await block.locator(".curl").textContent()).not.toMatch(/idempotency-key|x-request-id/i);
    expect(complaints).toEqual([]);
    expect(requests.filter((request) => !request.startsWith(`${url}/`))).toEqual([]);
  });

  test("shows a key that it is given", async () => {
    const { url } = await start({ SLUICE_API_KEYS: `alice:${KEY}` });
    const { page } = await open(url);
    expect((await tryOut(page, "listModels")).status).toBe("401");
    await page.locator(".auth-wrapper .authorize").first().click();
    await page.getByRole("textbox").first().fill(KEY);
    await page.getByRole("button", { name: "Apply credentials" }).first().click();
    await page.getByRole("button", { name: "Close" }).first().click();
    expect((await tryOut(page, "metrics")).status).toBe("200");
  });

  test("asks the gateway below the path at which another server has it", async () => {
    const gateway = createGateway({ port: 0, logLevel: "silent" });
    closing.push(() => gateway.close());
    const app = fastify();
    await app.register(gateway.plugin, { prefix: "/llm" });
    const url = await app.listen({ host: "127.0.0.1", port: 0 });
    closing.push(() => app.close());
    const { page, requests, complaints } = await open(`${url}/llm`);
    expect((await tryOut(page, "live")).status).toBe("200");
    expect(requests).toContain(`${url}/llm/livez`);
    expect(complaints).toEqual([]);
  });

  test.each(["light", "dark"] as const)("is %s where that is preferred", async (colorScheme) => {
    const { url } = await start();
    const { page } = await open(url, { colorScheme });
    const ground = await page.evaluate("getComputedStyle(document.body).backgroundColor");
    const sum = (String(ground).match(/\d+/g) ?? []).slice(0, 3).reduce((all, part) => all + Number(part), 0);
    expect(sum > (3 * 255) / 2).toBe(colorScheme === "light");
    await page.evaluate(axe.source);
    // The library's part is its makers' to mend.
    const found = (await page.evaluate('axe.run({ exclude: [".swagger-ui"] })')) as axe.AxeResults;
    expect(found.violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`)).toEqual([]);
    expect(found.passes.map(({ id }) => id)).toContain("color-contrast");
  });
});
