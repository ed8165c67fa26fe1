/** The Chromium of this machine, for tests of pages. */
import { existsSync } from "node:fs";
import { type Browser, chromium, type Page } from "playwright-core";

/** Its path; undefined where there is none. */
export const CHROMIUM = [
  process.env["SLUICE_CHROMIUM"],
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
].find((path) => path !== undefined && existsSync(path));

/** For the name of a suite that is skipped without it. */
export const MISSING =
  CHROMIUM === undefined ? " (skipped: no Chromium; apt-get install chromium, or set SLUICE_CHROMIUM)" : "";

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

export const launch = (): Promise<Browser> =>
  chromium.launch({ executablePath: CHROMIUM ?? "", args: FLAGS });

/** What an open page did that a well-behaved one does not. */
export interface Conduct {
  /** Warnings and errors of the console (violations of the content security policy among them), and uncaught exceptions. */
  readonly complaints: string[];
  /** Every address that it asked for. */
  readonly requests: string[];
}

export function watch(page: Page): Conduct {
  const conduct: Conduct = { complaints: [], requests: [] };
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) conduct.complaints.push(message.text());
  });
  page.on("pageerror", (error) => conduct.complaints.push(String(error)));
  page.on("request", (request) => conduct.requests.push(request.url()));
  return conduct;
}
