/** The playground as a test uses it: a page in Chromium, and what was in it. */
import type { Browser, BrowserContext, BrowserContextOptions, Page } from "playwright-core";
import { expect } from "vitest";
import { type Conduct, watch } from "./chromium.ts";

export type Transport = "sse" | "websocket";

/** Every word is another, so that one lost or repeated shows; markup, quotes and wide characters are text like any other. */
export const TEXT = `Water & <b>weight</b> "only" — ${Array.from({ length: 70 }, (_, n) => `wort${n}é`).join(" ")} 水門 🚣 end.`;

export interface Visit extends Conduct {
  readonly page: Page;
  readonly context: BrowserContext;
  /** `Last-Event-ID` of the requests that had one, in order. */
  readonly resumedAfter: string[];
  readonly sockets: string[];
}

export async function visit(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<Visit> {
  const permissions = ["clipboard-read", "clipboard-write"];
  const context = await browser.newContext({
    viewport: { width: 1280, height: 900 },
    permissions,
    ...options,
  });
  return open(context, url);
}

/** Another tab. */
export async function open(context: BrowserContext, url: string): Promise<Visit> {
  const page = await context.newPage();
  const opened = { ...watch(page), page, context, resumedAfter: [] as string[], sockets: [] as string[] };
  page.on("websocket", (socket) => opened.sockets.push(socket.url()));
  page.on("request", (request) => {
    const after = request.headers()["last-event-id"];
    if (after !== undefined) opened.resumedAfter.push(after);
  });
  await page.goto(url);
  return opened;
}

/** Of the latest answer. */
export const textOf = async (page: Page, part: string): Promise<string> =>
  (await page.getByTestId(part).last().textContent()) ?? "";

/** Where there is little room, the parameters are folded until they are wanted. */
export async function choose(page: Page, transport: Transport | "auto"): Promise<void> {
  const choice = page.getByTestId(`transport-${transport}`);
  if (!(await choice.isVisible())) await page.getByText("Parameters", { exact: true }).click();
  await choice.check();
}

export async function ask(page: Page, transport: Transport, prompt = "Tell me of locks."): Promise<void> {
  await choose(page, transport);
  await page.getByTestId("prompt").fill(prompt);
  await page.getByTestId("send").click();
}

export const untilStatus = (page: Page, status: string): Promise<void> =>
  expect.poll(() => textOf(page, "status"), { timeout: 20_000 }).toBe(status);

export async function untilEvents(page: Page, events: number): Promise<void> {
  await expect
    .poll(async () => Number(await textOf(page, "events")), { timeout: 20_000 })
    .toBeGreaterThanOrEqual(events);
}

/** What was copied last. */
export const clipboard = (page: Page): Promise<string> => page.evaluate("navigator.clipboard.readText()");

/** Presses one of an answer's copying buttons. @returns what it copied */
export async function copied(page: Page, act: string): Promise<string> {
  const button = page.getByTestId(act).last();
  await button.click();
  await expect.poll(() => button.textContent()).toBe("Copied");
  return clipboard(page);
}

/** The last `after seq N` of the interruptions that are told below an answer, and the seq that it went on at. */
export async function seamOf(page: Page): Promise<{ after: number; next: number; text: string }> {
  const text = (await page.getByTestId("marks").last().locator("li").last().textContent()) ?? "";
  const [, after = Number.NaN, next = Number.NaN] = /after seq (\d+).* went on at seq (\d+)/.exec(text) ?? [];
  return { after: Number(after), next: Number(next), text };
}

/** The hosts that a page asked, over HTTP and WebSocket. */
export const hostsOf = ({ requests, sockets }: Visit): Set<string> =>
  new Set(
    [...requests, ...sockets].filter((url) => !url.startsWith("data:")).map((url) => new URL(url).host),
  );
