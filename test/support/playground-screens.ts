/** Pictures of the playground: `node test/support/playground-screens.ts <folder>`. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import type { Script } from "../../src/emulator/index.ts";
import { CHROMIUM, launch } from "./chromium.ts";
import { startGateway, type TestGateway } from "./gateway.ts";
import { choose } from "./playground.ts";
import { LESSON, THOUGHT } from "./playground-upstream.ts";

const DESK = { width: 1280, height: 860 };
/** As high as a whole answer. */
const TALL = { width: 1280, height: 1080 };
const PHONE = { width: 375, height: 812 };
const QUESTION = "How does an answer go on after its line was cut?";

/** A picture of what moves would show halves of two frames: here the upstream waits, in the middle of the answer. */
const PAUSE: Script = { fault: { kind: "hang", after_tokens: 110 } };

const tell = (gateway: TestGateway, more: Script = {}): void => {
  const calm = { first_token_ms: 90, pace_ms: 12, jitter_ms: 14 };
  gateway.emulator.script = () => ({ text: LESSON, reasoning: THOUGHT, ...calm, ...more });
};

type Scene = (page: Page, gateway: TestGateway) => Promise<void>;

const ask = async (page: Page): Promise<void> => {
  await page.getByTestId("prompt").fill(QUESTION);
  await page.getByTestId("send").click();
};
const last = (page: Page, part: string) => page.getByTestId(part).last();
const over = (page: Page, status = "completed") => last(page, "status").filter({ hasText: status }).waitFor();
const written = (page: Page, text: string) => last(page, "output").filter({ hasText: text }).waitFor();

/** Every scene has the gateway to itself. */
const SCENES: Readonly<Record<string, Scene>> = {
  empty: async () => {},
  async streaming(page, gateway) {
    tell(gateway, PAUSE);
    await ask(page);
    await written(page, "createClient");
  },
  async answered(page) {
    await ask(page);
    await over(page);
  },
  async queued(page, gateway) {
    for (let others = 0; others < 6; others++)
      await fetch(`${gateway.url}/v1/generations`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ request: { messages: [] }, on_disconnect: "continue" }),
      });
    await ask(page);
    await last(page, "status").filter({ hasText: "queued" }).waitFor();
  },
  async resumed(page) {
    await choose(page, "websocket");
    await ask(page);
    await written(page, "without a gap");
    await choose(page, "sse");
    await page.getByTestId("cut").click();
    await written(page, "for await");
    await page.getByTestId("cut").click();
    await over(page);
  },
  async beside(page, gateway) {
    tell(gateway, PAUSE);
    await ask(page);
    await written(page, "without a gap");
    await page.getByTestId("beside").click();
    await written(page, "delta?.content);\n}");
  },
  async error(page, gateway) {
    gateway.emulator.script = () => ({
      text: LESSON,
      pace_ms: 2,
      fault: { kind: "error_event", after_tokens: 40 },
    });
    await ask(page);
    await over(page, "failed");
  },
};

interface Shot {
  readonly scene: string;
  readonly name: string;
  readonly options: BrowserContextOptions;
}

const SHOTS: readonly Shot[] = [
  // The two of the documents.
  { scene: "beside", name: "playground", options: { viewport: TALL } },
  { scene: "resumed", name: "playground-dark", options: { viewport: TALL, colorScheme: "dark" } },
  ...Object.keys(SCENES).map((scene) => ({ scene, name: scene, options: { viewport: DESK } })),
  ...["empty", "answered", "resumed", "error"].map((scene) => ({
    scene,
    name: `${scene}-dark`,
    options: { viewport: DESK, colorScheme: "dark" as const },
  })),
  ...["empty", "streaming", "resumed"].map((scene) => ({
    scene,
    name: `${scene}-phone`,
    options: { viewport: PHONE },
  })),
  { scene: "resumed", name: "resumed-phone-dark", options: { viewport: PHONE, colorScheme: "dark" } },
];

async function shoot(browser: Browser, { scene, name, options }: Shot, folder: string): Promise<void> {
  const gateway = await startGateway({
    env: { SLUICE_MAX_CONCURRENCY: scene === "queued" ? "2" : "16", SLUICE_MAX_QUEUE: "16" },
  });
  tell(gateway);
  const context = await browser.newContext({ ...options, locale: "en-US" });
  try {
    const page = await context.newPage();
    await page.goto(gateway.url);
    await SCENES[scene]?.(page, gateway);
    const path = join(folder, `${name}.png`);
    await page.screenshot({ path });
    console.log(path);
  } finally {
    await context.close();
    await gateway.close();
  }
}

const [folder, only] = process.argv.slice(2);
if (CHROMIUM === undefined) throw new Error("There is no Chromium: install it, or set SLUICE_CHROMIUM.");
if (folder === undefined)
  throw new Error("usage: node test/support/playground-screens.ts <folder> [part of a name]");
await mkdir(folder, { recursive: true });
const browser = await launch();
try {
  for (const shot of SHOTS.filter(({ name }) => name.includes(only ?? "")))
    await shoot(browser, shot, folder);
} finally {
  await browser.close();
}
