/** The playground in a real Chromium, before a real gateway whose upstream is scripted. */
import { existsSync } from "node:fs";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startGateway } from "../support/gateway.ts";

const CHROMIUM = [
  process.env["SLUICE_CHROMIUM"],
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
].find((path) => path !== undefined && existsSync(path));

const FLAGS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Every word is another, so that one lost or repeated shows; markup, quotes and wide characters are text like any other. */
const TEXT = `Water & <b>weight</b> "only" — ${Array.from({ length: 70 }, (_, n) => `wort${n}é`).join(" ")} 水門 🚣 end.`;

type Gateway = Awaited<ReturnType<typeof startGateway>>;
type Transport = "sse" | "websocket";

/** One open page, and what it did that a well-behaved page does not. */
interface Visit {
  readonly page: Page;
  readonly complaints: string[];
  readonly requests: string[];
  readonly resumedAfter: string[];
  readonly sockets: string[];
}

function watch(page: Page): Visit {
  const visit: Visit = { page, complaints: [], requests: [], resumedAfter: [], sockets: [] };
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) visit.complaints.push(message.text());
  });
  page.on("pageerror", (error) => visit.complaints.push(String(error)));
  page.on("websocket", (socket) => visit.sockets.push(socket.url()));
  page.on("request", (request) => {
    visit.requests.push(request.url());
    const after = request.headers()["last-event-id"];
    if (after !== undefined) visit.resumedAfter.push(after);
  });
  return visit;
}

const textOf = async (page: Page, part: string) => (await page.getByTestId(part).textContent()) ?? "";

async function choose(page: Page, transport: Transport): Promise<void> {
  await page.getByTestId(`transport-${transport}`).check();
}

async function ask(page: Page, transport: Transport, prompt = "Tell me of locks."): Promise<void> {
  await choose(page, transport);
  await page.getByTestId("prompt").fill(prompt);
  await page.getByTestId("send").click();
}

const untilStatus = (page: Page, status: string) =>
  expect.poll(() => textOf(page, "status"), { timeout: 20_000 }).toBe(status);

async function untilSeq(page: Page, seq: number): Promise<void> {
  await expect
    .poll(async () => Number(await textOf(page, "seq")), { timeout: 10_000 })
    .toBeGreaterThanOrEqual(seq);
}

/** Where the log says that the line was cut. */
async function cutAt(page: Page): Promise<string> {
  return /cut at seq (\d+)/.exec(await textOf(page, "log"))?.[1] ?? "never";
}

const missing = " (skipped: no Chromium; apt-get install chromium, or set SLUICE_CHROMIUM)";
const suite = CHROMIUM === undefined ? describe.skip : describe;

suite(`playground in Chromium${CHROMIUM === undefined ? missing : ""}`, () => {
  let gateway: Gateway;
  let browser: Browser;
  let context: BrowserContext;
  let visit: Visit;

  async function open(url: string, width = 1280): Promise<Visit> {
    const page = await context.newPage();
    await page.setViewportSize({ width, height: 900 });
    const opened = watch(page);
    await page.goto(url);
    return opened;
  }

  beforeAll(async () => {
    gateway = await startGateway();
    browser = await chromium.launch({ executablePath: CHROMIUM ?? "", args: FLAGS });
  });
  afterAll(async () => {
    await browser?.close();
    await gateway?.close();
  });
  beforeEach(async () => {
    gateway.emulator.script = () => ({ text: TEXT, first_token_ms: 60, pace_ms: 25 });
    context = await browser.newContext();
    visit = await open(gateway.url);
  });
  afterEach(async () => {
    await context?.close();
  });

  test.each<Transport>(["sse", "websocket"])(
    "tokens arrive over %s as the upstream sent them",
    async (transport) => {
      const { page } = visit;
      await ask(page, transport);
      await untilSeq(page, 4);
      expect(await textOf(page, "status")).toBe("running");
      const partial = await textOf(page, "output");
      expect(TEXT.startsWith(partial)).toBe(true);
      expect(partial.length).toBeLessThan(TEXT.length);
      await untilStatus(page, "completed");
      expect(await textOf(page, "output")).toBe(TEXT);
      expect(await textOf(page, "ttft")).toMatch(/^\d+(\.\d+)? m?s$/);
      expect(Number(await textOf(page, "rate"))).toBeGreaterThan(0);
      expect(await textOf(page, "generation")).toMatch(/^gen_/);
      expect(visit.sockets.length).toBe(transport === "websocket" ? 1 : 0);
    },
  );

  test("one WebSocket serves one generation after another", async () => {
    const { page } = visit;
    for (const prompt of ["first", "second"]) {
      await ask(page, "websocket", prompt);
      await untilStatus(page, "completed");
      expect(await textOf(page, "output")).toBe(TEXT);
    }
    expect(visit.sockets.length).toBe(1);
  });

  test("a line cut in mid-answer on SSE resumes without losing or repeating a token", async () => {
    const { page } = visit;
    await ask(page, "sse");
    await untilSeq(page, 6);
    await page.getByTestId("cut").click();
    const seq = await cutAt(page);
    expect((await textOf(page, "output")).length).toBeLessThan(TEXT.length);
    await untilStatus(page, "completed");
    expect(await textOf(page, "output")).toBe(TEXT);
    expect(await textOf(page, "log")).toContain(`resumed on SSE after ${seq}`);
    expect(await textOf(page, "log")).not.toMatch(/gap|came again/);
    expect(visit.resumedAfter).toEqual([seq]);
  });

  test.each<[Transport, Transport, string]>([
    ["websocket", "sse", "SSE"],
    ["sse", "websocket", "WebSocket"],
  ])("a line cut on %s resumes on %s", async (before, after, label) => {
    const { page } = visit;
    await ask(page, before);
    await untilSeq(page, 6);
    await page.getByTestId("cut").click();
    await choose(page, after);
    const seq = await cutAt(page);
    await untilStatus(page, "completed");
    expect(await textOf(page, "output")).toBe(TEXT);
    expect(await textOf(page, "log")).toContain(`resumed on ${label} after ${seq}`);
  });

  test("a line cut before the first token starts no second generation", async () => {
    const { page } = visit;
    let asked = 0;
    gateway.emulator.script = () => {
      asked += 1;
      return { text: TEXT, first_token_ms: 2500, pace_ms: 5 };
    };
    await ask(page, "websocket");
    await page.getByTestId("cut").click();
    await untilStatus(page, "completed");
    expect(await textOf(page, "output")).toBe(TEXT);
    expect(asked).toBe(1);
  });

  test.each<Transport>(["sse", "websocket"])(
    "Stop over %s ends the generation as cancelled",
    async (transport) => {
      const { page } = visit;
      await ask(page, transport);
      await untilSeq(page, 4);
      await page.getByTestId("stop").click();
      await untilStatus(page, "cancelled");
      const shown = await textOf(page, "output");
      expect(TEXT.startsWith(shown) && shown.length < TEXT.length).toBe(true);
      const answer = await fetch(`${gateway.url}/v1/generations/${await textOf(page, "generation")}`);
      expect(((await answer.json()) as { status: string }).status).toBe("cancelled");
    },
  );

  test("Ctrl+Enter sends", async () => {
    const { page } = visit;
    await page.getByTestId("prompt").fill("By keyboard.");
    await page.getByTestId("prompt").press("Control+Enter");
    await untilStatus(page, "completed");
    expect(await textOf(page, "output")).toBe(TEXT);
  });

  test("the page complains of nothing, keeps to its own host and to the content security policy", async () => {
    const { page } = visit;
    const answer = await fetch(gateway.url);
    const policy = answer.headers.get("content-security-policy") ?? "";
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toMatch(/unsafe|\*/);
    for (const transport of ["sse", "websocket"] as const) {
      await ask(page, transport);
      await untilStatus(page, "completed");
    }
    expect(await page.getByTestId("output").locator("b").count()).toBe(0);
    expect(visit.complaints).toEqual([]);
    const hosts = [...visit.requests, ...visit.sockets].filter((url) => !url.startsWith("data:"));
    expect(new Set(hosts.map((url) => new URL(url).host))).toEqual(new Set([new URL(gateway.url).host]));
  });

  describe("at the width of a phone and of a desk", () => {
    let folder: string;
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), "sluice-playground-"));
    });
    afterAll(() => rm(folder, { recursive: true, force: true }));

    test.each([390, 1280])("fits in %i px", async (width) => {
      const { page } = await open(gateway.url, width);
      const word = "w".repeat(300);
      gateway.emulator.script = () => ({ text: `${word} ${TEXT}`, first_token_ms: 1, pace_ms: 1 });
      await ask(page, "sse");
      await untilStatus(page, "completed");
      const picture = join(folder, `${width}.png`);
      await page.screenshot({ path: picture, fullPage: true });
      expect((await stat(picture)).size).toBeGreaterThan(1000);
      expect(await page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(width);
    });
  });

  describe("before an upstream that fails", () => {
    let upstream: Server;
    let failing: Gateway;
    beforeAll(async () => {
      upstream = failingUpstream();
      await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
      const { port } = upstream.address() as AddressInfo;
      failing = await startGateway({ env: { OPENAI_BASE_URL: `http://127.0.0.1:${port}/v1` } });
    });
    afterAll(async () => {
      await failing?.close();
      upstream?.closeAllConnections();
      upstream?.close();
    });

    test.each<Transport>(["sse", "websocket"])(
      "shows the code of an early error over %s",
      async (transport) => {
        const { page } = await open(failing.url);
        await ask(page, transport, "early");
        await untilStatus(page, "failed");
        expect(await textOf(page, "error")).toContain("context_length_exceeded");
        expect(await textOf(page, "output")).toBe("");
      },
    );

    test.each<Transport>(["sse", "websocket"])(
      "keeps what came before a late error over %s",
      async (transport) => {
        const { page } = await open(failing.url);
        await ask(page, transport, "late");
        await untilStatus(page, "failed");
        expect(await textOf(page, "error")).toContain("engine_on_fire");
        expect(await textOf(page, "output")).toBe("So far so good");
      },
    );
  });

  describe("before a gateway with keys", () => {
    let guarded: Gateway;
    beforeAll(async () => {
      guarded = await startGateway({ env: { SLUICE_API_KEYS: "alice:sesame" } });
      guarded.emulator.script = () => ({ text: TEXT, first_token_ms: 20, pace_ms: 2 });
    });
    afterAll(() => guarded?.close());

    test("asks for the key only when refused, and then both transports work", async () => {
      expect(await visit.page.getByTestId("key").isVisible()).toBe(false);
      const { page, sockets } = await open(guarded.url);
      await page.getByTestId("key").fill("sesame");
      await page.getByTestId("key").press("Enter");
      for (const transport of ["sse", "websocket"] as const) {
        await ask(page, transport);
        await untilStatus(page, "completed");
        expect(await textOf(page, "output")).toBe(TEXT);
      }
      expect(sockets.join()).not.toContain("sesame");
      expect(
        await page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length"),
      ).toBe(0);
    });
  });
});

/** Answers the prompt `early` with a 400, and any other with some text and then an error. */
function failingUpstream(): Server {
  return createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    if (request.method === "GET") {
      const models = {
        object: "list",
        data: [{ id: "frail", object: "model", created: 0, owned_by: "test" }],
      };
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(models));
      return;
    }
    if (body.includes('"early"')) {
      const error = {
        message: "Too long.",
        type: "invalid_request_error",
        param: null,
        code: "context_length_exceeded",
      };
      response.writeHead(400, { "content-type": "application/json" }).end(JSON.stringify({ error }));
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const content of ["So far", " so good"]) {
      const choices = [{ index: 0, delta: { content }, finish_reason: null }];
      response.write(`data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", choices })}\n\n`);
    }
    const error = { message: "It burns.", type: "server_error", param: null, code: "engine_on_fire" };
    response.end(`data: ${JSON.stringify({ error })}\n\n`);
  });
}
