/** What the playground makes of an answer's text: Markdown, hostile Markdown, reasoning, tool calls, and requests to copy. */
import { execFile, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { CHROMIUM, launch, MISSING } from "../support/chromium.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import type { PlainUpstream } from "../support/plain-upstream.ts";
import { ask, copied, hostsOf, textOf, untilStatus, type Visit, visit } from "../support/playground.ts";
import { inPieces, LESSON, startTeller, THOUGHT } from "../support/playground-upstream.ts";
import { python } from "../support/python.ts";

const suite = CHROMIUM === undefined ? describe.skip : describe;
const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const run = promisify(execFile);
const hasCurl = spawnSync("curl", ["--version"]).status === 0;

/** Each would call `pwned`, load something, cover the page or leave it, if anything of it came through. */
const PAYLOADS = [
  "<script>pwned('script')</script>",
  "<img src=x onerror=\"pwned('img')\">",
  "<svg onload=\"pwned('svg')\"><script>pwned('svg script')</script></svg>",
  "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=pwned('mxss')&gt;\">",
  "<iframe srcdoc=\"<script>parent.pwned('frame')</script>\"></iframe>",
  "<form action='https://evil.example/'><input name=a><button formaction='javascript:pwned(1)'>x</button></form>",
  "<style>body { display: none }</style><link rel=stylesheet href='https://evil.example/a.css'>",
  '<p style="position:fixed;inset:0;background:url(https://evil.example/b.png)" onclick="pwned(2)">over it all</p>',
  "<a href=\"javascript:pwned('link')\">raw link</a> <base href='https://evil.example/'>",
  "[script](javascript:pwned('md')) [data](data:text/html,<script>pwned('data')</script>) [vb](vbscript:x)",
  "[entity](&#106;avascript:pwned('entity')) [tab](java\tscript:pwned('tab')) [own](/v1/models) <javascript:pwned('auto')>",
  '![picture](https://evil.example/c.png) ![" onerror="pwned(\'alt\')](https://evil.example/d.png "t" )',
  "```js\" onmouseover=\"pwned('fence')\n</code></pre><script>pwned('code')</script>\n```",
  "| a | <img src=x onerror=pwned('cell')> |\n| --- | --- |\n| <details open ontoggle=pwned('toggle')> | b |",
  "<object data=https://evil.example/e></object><video src=https://evil.example/f autoplay></video><embed src=https://evil.example/g>",
  "<br onclick=\"pwned('br')\"><kbd onfocus=\"pwned('kbd')\" tabindex=1 autofocus>k</kbd>",
];
const HOSTILE = PAYLOADS.join("\n\n");

/** What may be in an answer, and the page's own block around code and tables. */
const MAY = new Set(
  "p br hr h3 h4 h5 h6 blockquote ul ol li pre code strong em del kbd sub sup a table thead tbody tr th td div span button".split(
    " ",
  ),
);
const ATTRIBUTES = new Set(
  "href title start align data-lang target rel class tabindex role aria-label type data-act".split(" "),
);

/** Of all elements in an answer: their names, and their attributes with values. */
const elementsOf = (page: Page, part: string): Promise<{ name: string; attributes: [string, string][] }[]> =>
  page
    .getByTestId(part)
    .last()
    .locator("*")
    .evaluateAll((all) =>
      all.map((each) => ({
        name: each.tagName.toLowerCase(),
        attributes: Array.from(each.attributes, ({ name, value }): [string, string] => [name, value]),
      })),
    );

suite(`the playground's answers in Chromium${MISSING}`, () => {
  let upstream: PlainUpstream;
  let gateway: TestGateway;
  let browser: Browser;
  let deltas: readonly object[] = [];
  const prompts: string[] = [];

  beforeAll(async () => {
    upstream = await startTeller((prompt) => {
      prompts.push(prompt);
      return deltas;
    });
    gateway = await startGateway({ env: { OPENAI_BASE_URL: upstream.url } });
    browser = await launch();
  });
  afterAll(async () => {
    await browser?.close();
    await gateway?.close();
    await upstream?.close();
  });
  afterEach(async () => {
    for (const context of browser.contexts()) await context.close();
  });

  async function answered(told: readonly object[], prompt?: string): Promise<Visit> {
    deltas = told;
    const opened = await visit(browser, gateway.url);
    await ask(opened.page, "sse", prompt);
    await untilStatus(opened.page, "completed");
    return opened;
  }

  test("Markdown is shown as what it says, whatever pieces it comes in, and code can be copied", async () => {
    const shapes: string[] = [];
    for (const size of [1, 7, 10_000]) {
      const { page, complaints } = await answered(inPieces(LESSON, size));
      const output = page.getByTestId("output");
      shapes.push(await output.evaluate((element) => element.innerHTML));
      expect(await output.locator("ol > li").count()).toBe(3);
      expect(await output.locator("h3").textContent()).toBe("What the line does");
      expect(await output.locator("table tr").count()).toBe(3);
      expect(await output.locator(".code-head span").textContent()).toBe("js");
      await output.getByText("Copy", { exact: true }).click();
      await expect.poll(() => output.locator(".code-head button").textContent()).toBe("Copied");
      const code = /```js\n([\s\S]*?)\n```/.exec(LESSON)?.[1];
      expect(await page.evaluate("navigator.clipboard.readText()")).toBe(code);
      expect(await copied(page, "copy-text")).toBe(LESSON);
      expect(complaints).toEqual([]);
    }
    expect(new Set(shapes.map((shape) => shape.replace("Copied", "Copy"))).size).toBe(1);
  });

  test("links open elsewhere and tell nothing of this page; pictures are links", async () => {
    const text =
      "[a](https://a.example/x) ![b](https://b.example/y.png) <https://c.example/> https://d.example";
    const { page, requests } = await answered([{ content: text }]);
    const links = page.getByTestId("output").locator("a");
    expect(await links.allTextContents()).toEqual(["a", "b", "https://c.example/", "https://d.example"]);
    for (const link of await links.all()) {
      expect(await link.getAttribute("target")).toBe("_blank");
      expect(await link.getAttribute("rel")).toBe("noopener noreferrer nofollow");
    }
    expect(requests.join()).not.toContain(".example");
  });

  test.each([1, 3, 64, 100_000])(
    "hostile Markdown in pieces of %i runs, loads and covers nothing, also after a reload",
    async (size) => {
      deltas = [...inPieces(HOSTILE, size), { reasoning_content: HOSTILE }];
      const opened = await visit(browser, gateway.url);
      const { page } = opened;
      await page.addInitScript("globalThis.pwned = (how) => { globalThis.got = how; }");
      await page.reload();
      await ask(page, "sse", HOSTILE);
      await untilStatus(page, "completed");
      for (const _ of ["now", "reloaded"]) {
        for (const part of ["messages", "output"]) expect(await elementsOf(page, part)).not.toEqual([]);
        const elements = await elementsOf(page, "output");
        expect(elements.filter(({ name }) => !MAY.has(name))).toEqual([]);
        const attributes = elements.flatMap((each) => each.attributes);
        expect(attributes.filter(([name]) => !ATTRIBUTES.has(name))).toEqual([]);
        const hrefs = attributes.flatMap(([name, value]) => (name === "href" ? [value] : []));
        expect(hrefs.length).toBeGreaterThan(0);
        expect(hrefs.filter((href) => !/^https:\/\/evil\.example\/[cd]\.png$/.test(href))).toEqual([]);
        // It is all there to be read, as what it is.
        expect(await textOf(page, "output")).toContain("<script>pwned('script')</script>");
        expect(await textOf(page, "reasoning")).toBe(HOSTILE);
        for (const link of await page.getByTestId("output").locator("a").all())
          await link.dispatchEvent("mouseover");
        expect(await page.evaluate("globalThis.got ?? 'nothing'")).toBe("nothing");
        expect(opened.complaints).toEqual([]);
        expect(hostsOf(opened)).toEqual(new Set([new URL(gateway.url).host]));
        expect(new URL(page.url()).host).toBe(new URL(gateway.url).host);
        await page.reload();
      }
    },
  );

  test("the second wall holds alone: raw HTML that reached the sanitizer loses all that acts", async () => {
    const { page } = await visit(browser, gateway.url);
    const left = (await page.evaluate(
      `import("/playground/markdown.js").then(({ safe }) =>
        ${JSON.stringify(PAYLOADS)}.map((payload) => {
          const box = document.createElement("div");
          box.append(safe(payload));
          return box.innerHTML;
        }))`,
    )) as string[];
    expect(left).toContain("<p>over it all</p>");
    for (const html of left) {
      expect(html).not.toMatch(
        /<(script|img|svg|math|style|iframe|form|input|link|base|object|video|embed)/i,
      );
      expect(html).not.toMatch(/<[^>]*\s(on\w+|style|src|srcdoc|action|id|name|tabindex)=/i);
      expect(html).not.toMatch(/href="(?!https?:|mailto:)/i);
    }
  });

  test("reasoning is folded once the answer begins, and stays as its reader puts it", async () => {
    const { page } = await answered([{ reasoning: THOUGHT }, { reasoning: "More." }, { content: "So." }]);
    expect(await textOf(page, "reasoning")).toBe(`${THOUGHT}More.`);
    expect(await page.getByTestId("reasoning").isVisible()).toBe(false);
    await page.getByText("Reasoning", { exact: true }).click();
    expect(await page.getByTestId("reasoning").isVisible()).toBe(true);
  });

  test("tool calls are shown with their arguments, whatever an upstream leaves out", async () => {
    const call = (
      index: number | undefined,
      id: string | undefined,
      name: string | undefined,
      args: string,
    ) => ({
      tool_calls: [{ index, id, type: "function", function: { name, arguments: args } }],
    });
    const { page } = await answered([
      call(0, "a", "weather", ""),
      call(0, undefined, undefined, '{"city":'),
      call(0, undefined, undefined, '"Gent"}'),
      call(1e9, "b", "time", "{}"),
      { tool_calls: [{ id: "c", function: { name: "unindexed", arguments: '{"x":1}' } }] },
      { tool_calls: [null, { function: null }] },
      { function_call: { name: "legacy", arguments: "{}" } },
    ]);
    const items = page.getByTestId("tools").locator("li");
    expect(await items.allTextContents()).toEqual([
      'Calls weather{"city":"Gent"}',
      "Calls time{}",
      'Calls unindexed{"x":1}',
      "Calls legacy{}",
    ]);
    expect(await page.getByTestId("output").isVisible()).toBe(false);
  });

  describe("the request, copied", () => {
    const PROMPT = `It's "quoted", $HOME \`date\` \\n \\ ! é 水門 🚣 %s
second line; 'x' && exit`;
    const ANSWER = "Gut, danke.";

    async function copiedAs(language: string): Promise<string> {
      const { page } = await answered(inPieces(ANSWER, 3), PROMPT);
      prompts.length = 0;
      return copied(page, `copy-${language}`);
    }

    test.skipIf(!hasCurl)("as curl runs in a shell, and asks the same", async () => {
      const command = await copiedAs("curl");
      const { stdout } = await run("sh", ["-c", command]);
      expect(prompts).toEqual([PROMPT]);
      const events = [...stdout.matchAll(/^data: (\{.*)$/gm)].map(([, json = ""]) => JSON.parse(json));
      expect(events.map(({ choices }) => choices[0].delta.content ?? "").join("")).toBe(ANSWER);
      expect(stdout).toContain("data: [DONE]");
    });

    test("as a Node program runs, and asks the same", async () => {
      const program = await copiedAs("node");
      const { stdout } = await run(process.execPath, ["--input-type=module", "--eval", program], {
        cwd: ROOT,
      });
      expect(stdout).toBe(ANSWER);
      expect(prompts).toEqual([PROMPT]);
    });

    test.skipIf(python === undefined)("as a Python program runs, and asks the same", async () => {
      const program = await copiedAs("python");
      const { stdout } = await run(python ?? "", ["-c", program]);
      expect(stdout).toBe(ANSWER);
      expect(prompts).toEqual([PROMPT]);
    });

    test.skipIf(!hasCurl)("where keys are needed, takes the key from the environment", async () => {
      const guarded = await startGateway({
        env: { OPENAI_BASE_URL: upstream.url, SLUICE_API_KEYS: "alice:sesame" },
      });
      deltas = [{ content: ANSWER }];
      const { page } = await visit(browser, guarded.url);
      await page.getByTestId("key").fill("sesame");
      await page.getByTestId("key").press("Enter");
      await ask(page, "sse");
      await untilStatus(page, "completed");
      for (const language of ["curl", "node", "python"]) {
        const command = await copied(page, `copy-${language}`);
        expect(command).toContain("SLUICE_API_KEY");
        expect(command).not.toContain("sesame");
      }
      const env = { ...process.env, SLUICE_API_KEY: "sesame" };
      const { stdout } = await run("sh", ["-c", await copied(page, "copy-curl")], { env });
      expect(stdout).toContain("data: [DONE]");
      await guarded.close();
    });
  });
});
