/** The status page in a real Chromium, before a real gateway under load. */
import axe from "axe-core";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { CHROMIUM, type Conduct, launch, MISSING, watch } from "../support/chromium.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { SseClient } from "../support/sse-client.ts";
import { runTraffic } from "../support/traffic.ts";
import { WsClient } from "../support/ws-client.ts";

const suite = CHROMIUM === undefined ? describe.skip : describe;
const PANELS = [
  ...["ttft", "inter-token", "tokens", "queue", "in-flight", "readers"],
  ...["requests", "errors", "resumes", "lag", "memory", "cpu"],
];
const DASH = "–";

interface Visit extends Conduct {
  readonly page: Page;
  /** Every body of `/metrics` that the page got, the latest last. */
  readonly scrapes: string[];
}

const textOf = async (page: Page, part: string) => (await page.getByTestId(part).textContent()) ?? "";
const until = (page: Page, part: string, timeout = 20_000) =>
  expect.poll(() => textOf(page, part), { timeout });
/** A figure as the page writes counts. */
const count = (value: number): string => value.toLocaleString("en-US");

/** Seconds of `130 ms` or `1.5 s`. */
function secondsOf(text: string): number {
  const [, value, unit] = /^([\d.,]+) (ms|s)$/.exec(text) ?? [];
  return Number(value?.replaceAll(",", "")) / (unit === "ms" ? 1000 : 1);
}

/** Between which edges of a histogram the median lies, from the text of a scrape in which nothing else was observed. */
function medianBucket(text: string, name: string): readonly [from: number, to: number] {
  const counts = new Map<number, number>();
  for (const [, le, value] of text.matchAll(new RegExp(`^${name}_bucket{.*?le="([^"]+)".*} (\\d+)$`, "gm")))
    counts.set(Number(le), (counts.get(Number(le)) ?? 0) + Number(value));
  const finite = [...counts].filter(([le]) => !Number.isNaN(le)).sort(([a], [b]) => a - b);
  const half = Number(finite.at(-1)?.[1]) / 2;
  const at = finite.findIndex(([, value]) => value >= half);
  return [finite[at - 1]?.[0] ?? 0, finite[at]?.[0] ?? Number.NaN];
}

suite(`the status page in Chromium${MISSING}`, () => {
  let browser: Browser;
  const gateways: TestGateway[] = [];

  async function start(env: Readonly<Record<string, string>> = {}): Promise<TestGateway> {
    const gateway = await startGateway({ env });
    gateways.push(gateway);
    return gateway;
  }

  async function open(url: string, options: BrowserContextOptions = {}): Promise<Visit> {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    const scrapes: string[] = [];
    page.on("response", async (answer) => {
      if (!answer.url().endsWith("/metrics") || answer.status() !== 200) return;
      const text = await answer.text().catch(() => undefined);
      if (text !== undefined) scrapes.push(text);
    });
    const conduct = watch(page);
    await page.goto(`${url}/status`);
    return { ...conduct, page, scrapes };
  }

  beforeAll(async () => {
    browser = await launch();
  });
  afterEach(async () => {
    for (const context of browser.contexts()) await context.close();
    for (const gateway of gateways.splice(0)) await gateway.close();
  });
  afterAll(() => browser?.close());

  test("says that there is no traffic yet, and what the limits are", async () => {
    const gateway = await start({ SLUICE_MAX_CONCURRENCY: "3", SLUICE_MAX_QUEUE: "1500" });
    const { page, complaints } = await open(gateway.url);
    await until(page, "state").toBe("Live");
    expect(await textOf(page, "detail")).toBe("No traffic yet.");
    expect(await textOf(page, "version")).toBe("0.0.0-test");
    expect(await textOf(page, "node")).toBe(process.versions.node);
    expect(await textOf(page, "accepting")).toBe("accepted");
    expect(await textOf(page, "upstreams")).toBe("1 of 1");
    expect(await page.locator('[data-panel="queue"] .note').textContent()).toBe("of 1,500 places");
    expect(await page.locator('[data-panel="in-flight"] .note').textContent()).toBe("of 3 slots");
    await until(page, "requests").toBe("0");
    for (const quantity of ["ttft", "inter-token", "errors"]) expect(await textOf(page, quantity)).toBe(DASH);
    expect(complaints).toEqual([]);
  });

  test("shows the levels that /metrics tells", async () => {
    const gateway = await start({ SLUICE_MAX_CONCURRENCY: "3", SLUICE_MAX_QUEUE: "10" });
    gateway.emulator.script = () => ({ tokens: 4000, first_token_ms: 1, pace_ms: 20 });
    const { page } = await open(gateway.url);
    const body = { messages: [], stream: true };
    const streams = Array.from(
      { length: 4 },
      () => new SseClient(`${gateway.url}/v1/chat/completions`, { method: "POST", body }),
    );
    const socket = await WsClient.open(gateway.wsUrl);
    socket.send({ type: "generate", id: "one", request: { messages: [] } });
    await until(page, "queue").toBe("2");
    await until(page, "in-flight").toBe("3");
    await until(page, "readers").toBe("5");
    expect([await textOf(page, "readers-0"), await textOf(page, "readers-1")]).toEqual(["4", "1"]);
    expect(await textOf(page, "active")).toBe("5 active");
    expect(await textOf(page, "sockets")).toBe("1 open");
    const shown = [
      await textOf(page, "queue"),
      await textOf(page, "in-flight"),
      await textOf(page, "readers"),
    ];
    const names = ["sluice_queue_depth", "sluice_upstream_in_flight", "sluice_readers"];
    expect(shown).toEqual(await Promise.all(names.map(async (name) => count(await gateway.metric(name)))));
    const label = await page.locator('[data-panel="queue"] .plot').getAttribute("aria-label");
    expect(label).toContain("Now: waiting 2");
    for (const stream of streams) stream.destroy();
    socket.terminate();
    await until(page, "readers").toBe("0");
  });

  test("after a load, its counts and quantiles are those of /metrics", async () => {
    const gateway = await start({ SLUICE_MAX_CONCURRENCY: "8", SLUICE_MAX_QUEUE: "6" });
    const { page, scrapes, complaints, requests } = await open(gateway.url);
    await until(page, "detail").toBe("No traffic yet.");
    await runTraffic(gateway, AbortSignal.timeout(8000), () => 12);
    for (const outcome of ["completed", "failed", "disconnected", "invalid"]) {
      const total = await gateway.metric("sluice_requests_total", { outcome });
      await until(page, `${outcome}-total`).toBe(count(total));
      await until(page, `${outcome}-lately`).toBe(count(total));
    }
    const resumes = await gateway.metric("sluice_resumes_total");
    await until(page, "resumes").toBe(count(resumes));
    const all = await gateway.metric("sluice_requests_total");
    const bad = await Promise.all(
      ["failed", "queue_full", "queue_timeout", "overloaded", "draining"].map((outcome) =>
        gateway.metric("sluice_requests_total", { outcome }),
      ),
    );
    const share = (100 * bad.reduce((sum, value) => sum + value, 0)) / all;
    expect(Number.parseFloat(await textOf(page, "errors"))).toBeCloseTo(share, 0);
    const [scrape = ""] = scrapes.slice(-1);
    for (const [panel, name] of [
      ["ttft", "sluice_time_to_first_token_seconds"],
      ["inter-token", "sluice_inter_token_latency_seconds"],
    ] as const) {
      const median = secondsOf(await textOf(page, panel));
      const [from, to] = medianBucket(scrape, name);
      // To the three figures that are written.
      expect(median).toBeGreaterThanOrEqual(from * 0.99);
      expect(median).toBeLessThanOrEqual(to * 1.01);
    }
    expect(Number((await textOf(page, "tokens")).replace(",", ""))).toBeGreaterThan(0);
    expect(complaints).toEqual([]);
    const hosts = requests.filter((url) => !url.startsWith("data:")).map((url) => new URL(url).host);
    expect(new Set(hosts)).toEqual(new Set([new URL(gateway.url).host]));
  });

  test("a plot that is pointed at says what was then", async () => {
    const gateway = await start();
    const { page } = await open(gateway.url);
    await until(page, "cpu").not.toBe(DASH);
    const plot = page.locator('[data-panel="memory"] .u-over');
    await plot.scrollIntoViewIfNeeded();
    const { x, y, width, height } = (await plot.boundingBox()) ?? { x: 0, y: 0, width: 0, height: 0 };
    await page.mouse.move(x + width - 2, y + height / 2);
    const ago = (panel: string) =>
      expect.poll(() => page.locator(`[data-panel="${panel}"] .ago`).textContent(), { timeout: 20_000 });
    await ago("memory").toMatch(/^\d+ s ago$/);
    // In every plot at once.
    await ago("queue").toMatch(/^\d+ s ago$/);
    await page.mouse.move(0, 0);
    await ago("memory").toBe("");
    await ago("queue").toBe("");
  });

  test("says that it is disconnected, and goes on when the gateway is back", async () => {
    const gateway = await startGateway();
    const { page } = await open(gateway.url);
    await until(page, "state").toBe("Live");
    await until(page, "memory").not.toBe(DASH);
    await gateway.close();
    await until(page, "state").toBe("Disconnected, retrying");
    expect(await textOf(page, "detail")).toMatch(/^These figures are \d+ s old\.$/);
    expect(await textOf(page, "memory")).not.toBe(DASH);
    const again = await start({ PORT: new URL(gateway.url).port });
    await until(page, "state").toBe("Live");
    again.emulator.script = () => ({ tokens: 5, first_token_ms: 1, pace_ms: 1 });
    await new SseClient(`${again.url}/v1/chat/completions`, {
      method: "POST",
      body: { messages: [], stream: true },
    }).ended;
    await until(page, "completed-total").toBe("1");
    await until(page, "completed-lately").toBe("1");
  });

  test("asks for a key where one is needed, and puts it in no address", async () => {
    const gateway = await start({ SLUICE_API_KEYS: "alice:sesame" });
    const { page, requests } = await open(gateway.url);
    await until(page, "state").toBe("This gateway asks for an API key");
    await page.getByTestId("key").fill("wrong");
    await page.getByTestId("key").press("Enter");
    const hint = () => page.locator("#key-hint").textContent();
    await expect.poll(hint, { timeout: 20_000 }).not.toContain("memory only");
    await until(page, "state").toBe("This gateway asks for an API key");
    await page.getByTestId("key").fill("sesame");
    await page.getByTestId("key").press("Enter");
    await until(page, "state").toBe("Live");
    expect(await page.getByTestId("key").isVisible()).toBe(false);
    await until(page, "requests").not.toBe(DASH);
    expect(requests.join()).not.toContain("sesame");
    const kept = "localStorage.length + sessionStorage.length + document.cookie.length";
    expect(await page.evaluate(kept)).toBe(0);
  });

  test("draining is told", async () => {
    const gateway = await start({ SLUICE_SHUTDOWN_TIMEOUT_MS: "20000" });
    gateway.emulator.script = () => ({ tokens: 4000, first_token_ms: 1, pace_ms: 20 });
    const { page } = await open(gateway.url);
    const body = { messages: [], stream: true };
    const reader = new SseClient(`${gateway.url}/v1/chat/completions`, { method: "POST", body });
    await until(page, "in-flight").toBe("1");
    const drained = gateway.server.drain();
    await until(page, "state").toBe("Draining");
    expect(await textOf(page, "accepting")).toBe("refused");
    reader.destroy();
    await drained;
  });

  test("does not ask while nobody looks", async () => {
    const gateway = await start();
    const { page, scrapes } = await open(gateway.url);
    await until(page, "state").toBe("Live");
    const hide = (isHidden: boolean) =>
      page.evaluate((hidden) => {
        const { document } = globalThis as never as { document: EventTarget };
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      }, isHidden);
    await hide(true);
    // What was under way comes to its end; after that, two polls' time brings nothing.
    await page.waitForTimeout(3000);
    const before = scrapes.length;
    await page.waitForTimeout(5000);
    expect(scrapes.length).toBe(before);
    await hide(false);
    await expect.poll(() => scrapes.length, { timeout: 10_000 }).toBeGreaterThan(before);
  });

  test.each([
    [375, "light"],
    [375, "dark"],
    [1280, "light"],
    [1280, "dark"],
  ] as const)("at %i px in the %s it fits, is accessible and breaks no rule", async (width, colorScheme) => {
    const gateway = await start({ SLUICE_MAX_CONCURRENCY: "4", SLUICE_MAX_QUEUE: "2" });
    const traffic = runTraffic(gateway, AbortSignal.timeout(5000), () => 8);
    const { page, complaints } = await open(gateway.url, {
      colorScheme,
      viewport: { width, height: 900 },
      // The checker is put into the page from outside, which the page's own policy forbids.
      bypassCSP: true,
    });
    await expect.poll(() => textOf(page, "ttft"), { timeout: 30_000 }).not.toBe(DASH);
    expect(await page.locator("[data-panel]").evaluateAll((cards) => cards.length)).toBe(PANELS.length);
    for (const panel of PANELS) expect(await textOf(page, panel), panel).not.toBe("");
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(width);
    await page.evaluate(axe.source);
    const found = (await page.evaluate("axe.run()")) as axe.AxeResults;
    expect(
      found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`),
    ).toEqual([]);
    expect(found.passes.map(({ id }) => id)).toContain("color-contrast");
    expect(complaints).toEqual([]);
    await traffic;
  });

  test("the playground links to it, and back", async () => {
    const gateway = await start();
    const { page } = await open(gateway.url);
    await page.getByRole("link", { name: "Playground" }).click();
    await page.getByRole("link", { name: "Status" }).click();
    await until(page, "state").toBe("Live");
  });
});
