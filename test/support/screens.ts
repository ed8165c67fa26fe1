/**
 * Pictures of the status page, light and dark, on a phone and on a desk: `node test/support/screens.ts <folder> [seconds]`. It is
 * taken after so many seconds under load (180 fill its plots). Those of the playground are in `playground-screens.ts`.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { startEmulator } from "../../src/emulator/index.ts";
import { CHROMIUM, launch } from "./chromium.ts";
import { startProcess } from "./gateway.ts";
import { runTraffic } from "./traffic.ts";

const SIZES = { phone: { width: 375, height: 812 }, desktop: { width: 1280, height: 900 } };
const SCHEMES = ["light", "dark"] as const;

interface Shot {
  readonly page: Page;
  readonly name: string;
}

/** Opens a page in every size and scheme. */
async function openAll(browser: Browser, url: string, name: string): Promise<Shot[]> {
  const shots: Shot[] = [];
  for (const [size, viewport] of Object.entries(SIZES)) {
    for (const colorScheme of SCHEMES) {
      const page = await browser.newPage({ viewport, colorScheme });
      await page.goto(url);
      shots.push({ page, name: `${name}-${size}-${colorScheme}` });
    }
  }
  return shots;
}

async function takeAll(shots: readonly Shot[], folder: string): Promise<void> {
  for (const { page, name } of shots) {
    const path = join(folder, `${name}.png`);
    await page.screenshot({ path, fullPage: true });
    console.log(path);
    await page.close();
  }
}

/** Waves that fill the slots, and at their tops the queue. */
const waves = (second: number): number => 20 + 14 * Math.sin(second / 9) + 12 * Math.sin(second / 31);

async function takePictures(folder: string, seconds: number): Promise<void> {
  await mkdir(folder, { recursive: true });
  const emulator = await startEmulator();
  const env = { OPENAI_BASE_URL: emulator.url, SLUICE_MAX_CONCURRENCY: "32", SLUICE_MAX_QUEUE: "10" };
  const gateway = await startProcess({ ...env, LOG_LEVEL: "silent" });
  const browser = await launch();
  try {
    const watched = await openAll(browser, `${gateway.url}/status`, "status");
    const taken = new AbortController();
    const traffic = runTraffic(gateway, taken.signal, waves);
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    await takeAll(watched, folder);
    taken.abort();
    await traffic;
  } finally {
    await browser.close();
    await gateway.stop();
    await emulator.close();
  }
}

const [folder, seconds = "180"] = process.argv.slice(2);
if (CHROMIUM === undefined) throw new Error("There is no Chromium: install it, or set SLUICE_CHROMIUM.");
if (folder === undefined || !(Number(seconds) > 0))
  throw new Error("usage: node test/support/screens.ts <folder> [seconds]");
await takePictures(folder, Number(seconds));
