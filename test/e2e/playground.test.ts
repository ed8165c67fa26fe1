/** The playground in a real Chromium, before a real gateway whose upstream is scripted: asking, stopping, failing, keys. */
import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { CHROMIUM, launch, MISSING } from "../support/chromium.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { eventOf, type PlainUpstream, startPlainUpstream } from "../support/plain-upstream.ts";
import {
  ask,
  choose,
  hostsOf,
  TEXT,
  type Transport,
  textOf,
  untilEvents,
  untilStatus,
  type Visit,
  visit,
} from "../support/playground.ts";

const suite = CHROMIUM === undefined ? describe.skip : describe;
const KEPT = "JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie])";

suite(`the playground in Chromium${MISSING}`, () => {
  let gateway: TestGateway;
  let browser: Browser;
  let here: Visit;

  beforeAll(async () => {
    gateway = await startGateway();
    browser = await launch();
  });
  afterAll(async () => {
    await browser?.close();
    await gateway?.close();
  });
  beforeEach(async () => {
    gateway.emulator.script = () => ({ text: TEXT, first_token_ms: 60, pace_ms: 40 });
    here = await visit(browser, gateway.url);
  });
  afterEach(async () => {
    for (const context of browser.contexts()) await context.close();
  });

  test.each<Transport>(["sse", "websocket"])(
    "tokens arrive over %s as the upstream sent them",
    async (transport) => {
      const { page, sockets } = here;
      await ask(page, transport);
      await untilEvents(page, 4);
      expect(await textOf(page, "status")).toBe("running");
      const partial = await textOf(page, "output");
      expect(TEXT.startsWith(partial)).toBe(true);
      expect(partial.length).toBeLessThan(TEXT.length);
      await untilStatus(page, "completed");
      expect(await textOf(page, "output")).toBe(TEXT);
      expect(await textOf(page, "ttft")).toMatch(/^\d+(\.\d+)? m?s$/);
      expect(Number(await textOf(page, "rate"))).toBeGreaterThan(0);
      expect(await textOf(page, "transport")).toBe(transport === "sse" ? "SSE" : "WebSocket");
      expect(await textOf(page, "reconnects")).toBe("0");
      expect(await textOf(page, "generation")).toMatch(/^gen_/);
      expect(await page.getByTestId("trace").getAttribute("aria-label")).toMatch(
        /median \d+ ms, longest \d+ ms$/,
      );
      expect(sockets.length).toBe(transport === "websocket" ? 1 : 0);
    },
  );

  test("one WebSocket serves one answer after another, and each is asked with what came before", async () => {
    const { page, sockets } = here;
    const asked: unknown[] = [];
    gateway.emulator.script = (body) => {
      asked.push(body);
      return { text: TEXT, pace_ms: 1 };
    };
    await page.getByTestId("system").fill("Be brief.");
    await page.getByTestId("temperature").fill("0.5");
    await page.getByTestId("max-tokens").fill("200");
    await page.getByTestId("more").fill('{"seed": 7}');
    for (const prompt of ["first", "second"]) {
      await ask(page, "websocket", prompt);
      await untilStatus(page, "completed");
    }
    expect(sockets.length).toBe(1);
    expect(await page.getByTestId("answer").count()).toBe(2);
    const [, second] = asked as { messages: unknown }[];
    expect(second).toMatchObject({ model: "sluice-demo", temperature: 0.5, max_tokens: 200, seed: 7 });
    expect(second?.messages).toEqual([
      { role: "system", content: "Be brief." },
      { role: "user", content: "first" },
      { role: "assistant", content: TEXT },
      { role: "user", content: "second" },
    ]);
  });

  test("what is no JSON is not sent, and the field says so", async () => {
    const { page } = here;
    await page.getByTestId("more").fill("{seed");
    await ask(page, "sse");
    expect(await page.locator("#more:invalid").count()).toBe(1);
    expect(await page.getByTestId("answer").count()).toBe(0);
    expect(await page.getByTestId("prompt").inputValue()).toBe("Tell me of locks.");
    await page.getByTestId("more").fill("");
    await page.getByTestId("send").click();
    await untilStatus(page, "completed");
  });

  test.each<Transport>(["sse", "websocket"])("Stop over %s ends it as cancelled", async (transport) => {
    const { page } = here;
    await ask(page, transport);
    await untilEvents(page, 4);
    await page.getByTestId("stop").click();
    await untilStatus(page, "cancelled");
    const shown = await textOf(page, "output");
    expect(TEXT.startsWith(shown) && shown.length < TEXT.length).toBe(true);
    const answer = await fetch(`${gateway.url}/v1/generations/${await textOf(page, "generation")}`);
    expect(((await answer.json()) as { status: string }).status).toBe("cancelled");
    await page.getByTestId("again").click();
    await untilStatus(page, "completed");
    expect(await page.getByTestId("answer").count()).toBe(1);
    expect(await textOf(page, "output")).toBe(TEXT);
  });

  test("Enter sends, Shift+Enter begins a line, Escape stops; and it is told without the text", async () => {
    const { page } = here;
    const prompt = page.getByTestId("prompt");
    expect(await prompt.evaluate((field) => field === field.ownerDocument.activeElement)).toBe(true);
    await prompt.pressSequentially("By");
    await prompt.press("Shift+Enter");
    await prompt.pressSequentially("keyboard.");
    await prompt.press("Enter");
    expect(await textOf(page, "question")).toContain("By\nkeyboard.");
    await untilEvents(page, 4);
    expect(await textOf(page, "news")).toBe("The answer has begun");
    await page.keyboard.press("Escape");
    await untilStatus(page, "cancelled");
    expect(await textOf(page, "news")).toContain("cancelled");
    // Every live region there is.
    const live = await page.locator("[aria-live], [role=status], [role=alert], [role=log]").allTextContents();
    expect(live.join()).not.toContain("wort0");
  });

  test("a new conversation is empty, also after a reload, and what ran is cancelled", async () => {
    const { page } = here;
    await ask(page, "websocket");
    await untilEvents(page, 4);
    const id = await textOf(page, "generation");
    await page.getByTestId("new").click();
    expect(await page.getByTestId("answer").count()).toBe(0);
    await expect
      .poll(async () => (await (await fetch(`${gateway.url}/v1/generations/${id}`)).json()) as object)
      .toMatchObject({ status: "cancelled" });
    await page.reload();
    expect(await page.getByText("Ask, and watch it come").isVisible()).toBe(true);
    expect(await page.getByTestId("answer").count()).toBe(0);
  });

  test("the page complains of nothing, keeps to its own host and to the content security policy", async () => {
    const { page } = here;
    const answer = await fetch(gateway.url);
    const policy = answer.headers.get("content-security-policy") ?? "";
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toMatch(/unsafe|\*/);
    for (const transport of ["sse", "websocket"] as const) {
      await ask(page, transport);
      await untilStatus(page, "completed");
    }
    expect(await page.getByTestId("output").locator("b").count()).toBe(0);
    expect(here.complaints).toEqual([]);
    expect(hostsOf(here)).toEqual(new Set([new URL(gateway.url).host]));
  });

  test.each([375, 1280])("fits in %i px", async (width) => {
    const { page } = await visit(browser, gateway.url, { viewport: { width, height: 900 } });
    const word = "w".repeat(300);
    const code = `\`\`\`\n${word}\n\`\`\`\n\n| ${word} | b |\n| --- | --- |\n| 1 | 2 |`;
    gateway.emulator.script = () => ({ text: `${word} ${TEXT}\n\n${code}`, first_token_ms: 1, pace_ms: 1 });
    await ask(page, "sse");
    await untilStatus(page, "completed");
    await page.getByTestId("beside").click();
    await untilStatus(page, "completed");
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(width);
  });

  describe("before an upstream that fails", () => {
    let upstream: PlainUpstream;
    let failing: TestGateway;
    beforeAll(async () => {
      upstream = await startFailing();
      failing = await startGateway({ env: { OPENAI_BASE_URL: upstream.url } });
    });
    afterAll(async () => {
      await failing?.close();
      await upstream?.close();
    });

    test.each<Transport>(["sse", "websocket"])(
      "shows the code of an early error over %s",
      async (transport) => {
        const { page } = await visit(browser, failing.url);
        await ask(page, transport, "early");
        await untilStatus(page, "failed");
        expect(await textOf(page, "error")).toBe("context_length_exceeded Too long.");
        expect(await textOf(page, "output")).toBe("");
        expect(await textOf(page, "news")).toContain("context_length_exceeded");
      },
    );

    test.each<Transport>(["sse", "websocket"])(
      "keeps what came before a late error over %s, also after a reload",
      async (transport) => {
        const { page } = await visit(browser, failing.url);
        await ask(page, transport, "late");
        await untilStatus(page, "failed");
        for (const _ of ["now", "reloaded"]) {
          expect(await textOf(page, "error")).toBe("engine_on_fire It burns.");
          expect(await textOf(page, "output")).toBe("So far so good");
          expect(await textOf(page, "status")).toBe("failed");
          await page.reload();
        }
      },
    );
  });

  describe("before a gateway with keys", () => {
    let guarded: TestGateway;
    beforeAll(async () => {
      guarded = await startGateway({ env: { SLUICE_API_KEYS: "alice:sesame" } });
    });
    afterAll(() => guarded?.close());
    beforeEach(() => {
      guarded.emulator.script = () => ({ text: TEXT, first_token_ms: 20, pace_ms: 40 });
    });

    async function giveKey({ page }: Visit, key = "sesame"): Promise<void> {
      await page.getByTestId("key").fill(key);
      await page.getByTestId("key").press("Enter");
    }

    test("asks for the key only when refused; then both transports work, and it is kept nowhere", async () => {
      expect(await here.page.getByTestId("key").isVisible()).toBe(false);
      const guest = await visit(browser, guarded.url);
      await giveKey(guest);
      for (const transport of ["sse", "websocket"] as const) {
        await ask(guest.page, transport);
        await untilStatus(guest.page, "completed");
        expect(await textOf(guest.page, "output")).toBe(TEXT);
      }
      expect([...guest.sockets, ...guest.requests].join()).not.toContain("sesame");
      const kept = String(await guest.page.evaluate(KEPT));
      expect(kept).toContain("Tell me of locks.");
      expect(kept).not.toContain("sesame");
    });

    test.each<Transport>(["sse", "websocket"])(
      "what was asked over %s without a key is asked once there is one",
      async (transport) => {
        const { page, ...rest } = await visit(browser, guarded.url);
        await page.getByTestId("key").waitFor();
        await ask(page, transport);
        await untilStatus(page, "waiting for a key");
        await giveKey({ page, ...rest }, "wrong");
        await expect.poll(() => textOf(page, "trouble")).toContain("not valid");
        await untilStatus(page, "waiting for a key");
        await giveKey({ page, ...rest });
        await untilStatus(page, "completed");
        expect(await textOf(page, "output")).toBe(TEXT);
      },
    );

    test("after a reload in mid-answer, it goes on once the key is given again", async () => {
      const guest = await visit(browser, guarded.url);
      await giveKey(guest);
      await ask(guest.page, "sse");
      await untilEvents(guest.page, 5);
      await guest.page.reload();
      await untilStatus(guest.page, "waiting for a key");
      await giveKey(guest);
      await untilStatus(guest.page, "completed");
      expect(await textOf(guest.page, "output")).toBe(TEXT);
      await choose(guest.page, "websocket");
    });
  });
});

/** Answers the prompt `early` with a 400, and any other with some text and then an error. */
const startFailing = (): Promise<PlainUpstream> =>
  startPlainUpstream((response, body) => {
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
    for (const content of ["So far", " so good"]) response.write(eventOf(content));
    const error = { message: "It burns.", type: "server_error", param: null, code: "engine_on_fire" };
    response.end(`data: ${JSON.stringify({ error })}\n\n`);
  });
