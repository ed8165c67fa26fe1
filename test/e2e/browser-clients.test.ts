/** A real Chromium's own `EventSource`, `WebSocket` and `fetch` on a page of the gateway's origin, over a line that is cut. */
import { existsSync } from "node:fs";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type CuttingProxy, headerIn, startCuttingProxy } from "../support/cutting-proxy.ts";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";
import { chat, startGeneration, uncut, word } from "../support/requests.ts";

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

const TEXT = `Water & <b>weight</b> — ${Array.from({ length: 60 }, (_, n) => `wort${n}é`).join(" ")} 水門 🚣 end.`;
const SLOWLY = { text: TEXT, first_token_ms: 50, pace_ms: 10 };

/** Runs in the page. Resolves when the source is closed for good, with all that it heard. */
const LISTEN = `([path, names]) => new Promise((resolve) => {
  const events = [];
  const source = new EventSource(path);
  for (const name of ["message", ...names]) {
    source.addEventListener(name, ({ lastEventId, type, data }) => {
      if (data !== undefined) events.push({ id: lastEventId, name: type, data });
    });
  }
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) resolve(events);
  });
})`;

/** Runs in the page. Generates, comes back with the last seq each time the line is cut, and resolves with all messages. */
const CONVERSE = `([request]) => new Promise((resolve, reject) => {
  const log = { messages: [], codes: [], extensions: [] };
  let generation;
  let seq = 0;
  const open = () => {
    const socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/v1/ws", "sluice.v1");
    socket.onopen = () => {
      log.extensions.push(socket.extensions);
      const ask = generation === undefined
        ? { type: "generate", id: "a", request }
        : { type: "subscribe", id: "a", generation, starting_after: seq };
      socket.send(JSON.stringify(ask));
    };
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      log.messages.push(message);
      if (message.type === "accepted") generation = message.generation;
      if (message.type === "event") seq = message.seq;
      if (message.type === "error") reject(new Error(data));
      if (message.type === "end") socket.close(1000);
    };
    socket.onclose = ({ code }) => {
      log.codes.push(code);
      if (code === 1000) resolve(log);
      else open();
    };
  };
  open();
})`;

interface Heard {
  readonly id: string;
  readonly name: string;
  readonly data: string;
}

interface Conversation {
  readonly messages: readonly {
    readonly type: string;
    readonly seq?: number;
    readonly data?: unknown;
    readonly status?: string;
  }[];
  readonly codes: readonly number[];
  readonly extensions: readonly string[];
}

/** A function that is text, so that it is the page's own and no compiler's. */
const inPage = <T>(page: Page, source: string, args: readonly unknown[]): Promise<T> =>
  page.evaluate(`(${source})(${JSON.stringify(args)})`) as Promise<T>;

const missing = " (skipped: no Chromium; apt-get install chromium, or set SLUICE_CHROMIUM)";
const suite = CHROMIUM === undefined ? describe.skip : describe;

suite(`a browser's own clients${CHROMIUM === undefined ? missing : ""}`, () => {
  let gateway: TestGateway;
  let proxy: CuttingProxy;
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;

  beforeAll(async () => {
    gateway = await startGateway();
    browser = await chromium.launch({ executablePath: CHROMIUM ?? "", args: FLAGS });
  });
  afterAll(async () => {
    await browser?.close();
    await gateway?.close();
  });
  beforeEach(async () => {
    gateway.emulator.reset();
    proxy = await startCuttingProxy(gateway.url);
    context = await browser.newContext();
    page = await context.newPage();
    await page.goto(proxy.url);
  });
  afterEach(async () => {
    await context?.close();
    await proxy?.close();
  });

  test("EventSource on a generation's events resumes after each cut, and 204 stops it for good", async () => {
    const { id } = await startGeneration(gateway.url, SLOWLY);
    const path = `/v1/generations/${id}/events`;
    proxy.cut(path, [2_345, 4_567]);
    const heard = await inPage<Heard[]>(page, LISTEN, [path, ["end"]]);
    const whole = await uncut(gateway.url, id);
    expect(heard.map(({ data }) => data)).toEqual(whole.events.map(({ data }) => data));
    expect(heard.map((event) => Number(event.id))).toEqual(heard.map((_, index) => index + 1));
    expect(heard.at(-1)?.name).toBe("end");
    const words = heard.filter(({ name }) => name === "message").map(({ data }) => word(data));
    expect(words.join("")).toBe(TEXT);
    const asked = proxy.requests.filter((head) => head.includes(path));
    expect(asked.map((head) => headerIn(head, "last-event-id")).at(-1)).toBe(String(heard.length));
    expect([asked.length, proxy.cuts]).toEqual([4, 2]);
  });

  test("EventSource on GET /chat comes back to the same answer", async () => {
    gateway.emulator.script = () => SLOWLY;
    proxy.cut("/chat", [1_234]);
    const path = "/chat?prompt=Tell%20me%20of%20locks.&on_disconnect=grace";
    const heard = await inPage<Heard[]>(page, LISTEN, [path, ["done"]]);
    const texts = heard.filter(({ name }) => name === "message");
    expect(texts.map(({ data }) => (JSON.parse(data) as { text: string }).text).join("")).toBe(TEXT);
    expect(heard.at(-1)?.name).toBe("done");
    expect(proxy.cuts).toBe(1);
    expect(gateway.emulator.stats).toMatchObject({ requests: 1, completed: 1 });
  });

  test("WebSocket, cut twice: every event once, in order, and one end", async () => {
    proxy.cut("/v1/ws", [2_345, 3_456]);
    const { messages, codes, extensions } = await inPage<Conversation>(page, CONVERSE, [chat(SLOWLY)]);
    const events = messages.filter(({ type }) => type === "event");
    expect(events.map(({ seq }) => seq)).toEqual(events.map((_, index) => index + 1));
    expect(events.map(({ data }) => word(JSON.stringify(data))).join("")).toBe(TEXT);
    const ends = messages.filter(({ type }) => type === "end");
    expect(ends).toMatchObject([{ status: "completed", seq: events.length + 1 }]);
    expect(codes).toEqual([1006, 1006, 1000]);
    expect(new Set(extensions)).toEqual(new Set([""]));
    expect(gateway.emulator.stats).toMatchObject({ requests: 1, completed: 1, aborted: 0 });
  });

  test("fetch on the stock wire reads the text, and leaving the page stops the upstream", async () => {
    const body = JSON.stringify(chat(SLOWLY, { stream: true }));
    const post = `fetch("/v1/chat/completions", { method: "POST", headers: { "content-type": "application/json" }, body })`;
    const read = `([body]) => ${post}.then((answer) => answer.text())`;
    const lines = (await inPage<string>(page, read, [body])).split("\n\n").filter((line) => line !== "");
    expect(lines.at(-1)).toBe("data: [DONE]");
    const words = lines.slice(0, -1).map((line) => word(line.slice("data: ".length)));
    expect(words.join("")).toBe(TEXT);

    const endless = JSON.stringify(chat({ tokens: 100_000, pace_ms: 5 }, { stream: true }));
    await inPage(page, `([body]) => ${post}.then((answer) => answer.status)`, [endless]);
    await page.close();
    await until("the upstream is given up", () => gateway.emulator.stats.aborted === 1);
  });

  test("a page of another origin can read nothing", async () => {
    const stranger = await startCuttingProxy(gateway.url);
    try {
      const foreign = `([url]) => fetch(url).then((answer) => answer.status, (error) => error.name)`;
      expect(await inPage(page, foreign, [`${stranger.url}/v1/models`])).toBe("TypeError");
    } finally {
      await stranger.close();
    }
  });
});
