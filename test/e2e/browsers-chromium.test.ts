/** A page of another origin in a real Chromium, before a gateway without keys: whatever it tries, nothing gets through. */
import { existsSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startGateway, type TestGateway } from "../support/gateway.ts";

const CHROMIUM = [
  process.env["SLUICE_CHROMIUM"],
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
].find((path) => path !== undefined && existsSync(path));

const FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"];

/** Run in the page, as text: tests are no page. Each gives what it got, or why it got nothing. */
const TRIES: Readonly<Record<string, string>> = {
  "a fetch": `fetch(gateway + "/v1/models").then((answer) => answer.text(), () => "refused")`,
  "a fetch of the chat": `fetch(gateway + "/chat?prompt=stolen").then((answer) => answer.text(), () => "refused")`,
  "a simple POST": `fetch(gateway + "/chat", { method: "POST", headers: { "content-type": "text/plain" }, body: '{"prompt":"stolen"}' })
      .then((answer) => answer.text(), () => "refused")`,
  "a POST of JSON": `fetch(gateway + "/chat", { method: "POST", headers: { "content-type": "application/json" }, body: '{"prompt":"stolen"}' })
      .then((answer) => answer.text(), () => "refused")`,
  "a blind POST": `fetch(gateway + "/chat", { method: "POST", mode: "no-cors", body: '{"prompt":"stolen"}' })
      .then((answer) => answer.type === "opaque" ? "refused" : answer.text(), () => "refused")`,
  "a blind fetch": `fetch(gateway + "/chat?prompt=stolen", { mode: "no-cors" })
      .then((answer) => answer.type === "opaque" ? "refused" : answer.text(), () => "refused")`,
  "a beacon": `(navigator.sendBeacon(gateway + "/chat", '{"prompt":"stolen"}'), new Promise((done) => setTimeout(done, 300, "refused")))`,
  "an image": `new Promise((done) => {
      const image = new Image();
      image.onload = () => done("loaded");
      image.onerror = () => done("refused");
      image.src = gateway + "/chat?prompt=stolen";
    })`,
  "a script": `new Promise((done) => {
      const script = document.createElement("script");
      script.onload = () => done("loaded");
      script.onerror = () => done("refused");
      script.src = gateway + "/chat?prompt=stolen";
      document.head.append(script);
    })`,
  "a frame of the playground": `new Promise((done) => {
      const frame = document.createElement("iframe");
      frame.onload = () => {
        try { done(frame.contentWindow.location.href.startsWith(gateway) ? "readable" : "refused"); }
        catch { done("refused"); }
      };
      frame.src = gateway + "/";
      document.body.append(frame);
    })`,
  "an EventSource": `new Promise((done) => {
      const source = new EventSource(gateway + "/chat?prompt=stolen");
      source.onmessage = ({ data }) => done(data);
      source.onerror = () => { source.close(); done("refused"); };
    })`,
  "a WebSocket": `new Promise((done) => {
      const socket = new WebSocket(gateway.replace("http", "ws") + "/v1/ws", ["sluice.v1"]);
      socket.onmessage = ({ data }) => done(data);
      socket.onclose = () => done("refused");
    })`,
  "a form": `new Promise((done) => {
      const frame = document.createElement("iframe");
      frame.name = "target";
      frame.onload = () => done("refused");
      const form = document.createElement("form");
      Object.assign(form, { method: "POST", action: gateway + "/chat", enctype: "text/plain", target: "target" });
      form.innerHTML = '<input name=\\'{"prompt":"stolen","x":"\\' value=\\'"}\\'>';
      document.body.append(frame, form);
      form.submit();
    })`,
};

const missing = " (skipped: no Chromium; apt-get install chromium, or set SLUICE_CHROMIUM)";
const suite = CHROMIUM === undefined ? describe.skip : describe;

suite(`a foreign page in Chromium${CHROMIUM === undefined ? missing : ""}`, () => {
  let gateway: TestGateway;
  let elsewhere: Server;
  let browser: Browser;
  let page: Page | undefined;
  let port: number;

  beforeAll(async () => {
    gateway = await startGateway();
    elsewhere = createServer((_request, response) => {
      response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>evil</title>");
    });
    await new Promise<void>((resolve) => elsewhere.listen(0, "127.0.0.1", resolve));
    ({ port } = elsewhere.address() as AddressInfo);
    // A name that leads here, as a page gets one by rebinding.
    const rebound = "--host-resolver-rules=MAP evil.example 127.0.0.1";
    browser = await chromium.launch({ executablePath: CHROMIUM ?? "", args: [...FLAGS, rebound] });
  });
  afterAll(async () => {
    await browser?.close();
    elsewhere?.close();
    elsewhere?.closeAllConnections();
    await gateway?.close();
  });
  afterEach(async () => {
    await page?.close();
  });

  const tryIt = async (what: string, from: string, to: string): Promise<unknown> => {
    page = await browser.newPage();
    await page.goto(from);
    return page.evaluate(`((gateway) => (${TRIES[what]}))(${JSON.stringify(to)})`);
  };
  const at = (host: string, from: string): string => `http://${host}:${from}`;
  const gatewayPort = (): string => new URL(gateway.url).port;

  describe.each(["127.0.0.1", "localhost", "evil.example"])("at %s", (host) => {
    test.each(Object.keys(TRIES))("%s gets nothing, and nothing is generated", async (what) => {
      expect(await tryIt(what, at(host, String(port)), gateway.url)).toBe("refused");
      expect(gateway.emulator.stats.requests).toBe(0);
    });
  });

  test.each(Object.keys(TRIES).filter((what) => !/script|image|frame|form/.test(what)))(
    "%s by a name of its own that leads to the gateway gets nothing",
    async (what) => {
      const rebound = at("evil.example", gatewayPort());
      // The gateway itself serves a page of that name nothing but a refusal.
      expect(String(await tryIt(what, rebound, rebound))).toMatch(/refused|host_not_allowed/);
      expect(gateway.emulator.stats.requests).toBe(0);
    },
  );

  test("its own page gets through by the same means: the tests above look for the right thing", async () => {
    expect(String(await tryIt("a fetch", gateway.url, gateway.url))).toContain("sluice-demo");
    await page?.close();
    expect(String(await tryIt("a WebSocket", gateway.url, gateway.url))).toContain('"ready"');
    await page?.close();
    expect(String(await tryIt("an EventSource", gateway.url, gateway.url))).toContain('"text"');
  });
});
