/** Portkey's gateway, as it is published: installed on demand into a folder of the bench, never a dependency of the project. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { start } from "../processes.ts";
import { freePort, listening, sse } from "./plain.ts";
import type { Subject } from "./subject.ts";

const NAME = "@portkey-ai/gateway";
const VERSION = "1.15.2";
const CACHE = fileURLToPath(new URL("../.cache/", import.meta.url));
const FOLDER = `${CACHE}node_modules/${NAME}/`;
/**
 * The least that its own range allows: with later ones (1.14.4, 1.19.9 and 1.19.19 were tried) it answers every stream with 500, since it
 * changes the headers of an answer whose headers they keep immutable.
 */
const OVERRIDES = { "@hono/node-server": "1.3.3" };
const INSTALL_MS = 180_000;

export function portkeyVersion(): string | undefined {
  const file = `${FOLDER}package.json`;
  if (!existsSync(file)) return undefined;
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}

/** Tries to install it where it is not there. @returns why it is missing all the same */
function install(): string | undefined {
  if (portkeyVersion() !== undefined) return undefined;
  mkdirSync(CACHE, { recursive: true });
  writeFileSync(`${CACHE}package.json`, JSON.stringify({ private: true, overrides: OVERRIDES }));
  const args = ["install", "--no-audit", "--no-fund", `${NAME}@${VERSION}`];
  spawnSync("npm", args, { cwd: CACHE, stdio: "ignore", timeout: INSTALL_MS });
  return portkeyVersion() === undefined ? `${NAME} could not be installed into bench/.cache` : undefined;
}

export const portkey: Subject = {
  name: "portkey",
  title: "Portkey",
  ...sse,
  missing: install,
  async start({ upstream }) {
    const port = await freePort();
    const args = [`${FOLDER}build/start-server.js`, `--port=${port}`, "--headless"];
    const env = { NODE_ENV: "production" };
    const pinned = start({ command: process.execPath, args, place: "subject", env });
    await listening(port, () => pinned.output());
    const headers = {
      "x-portkey-provider": "openai",
      "x-portkey-custom-host": upstream.url,
      authorization: "Bearer none",
    };
    return {
      host: "127.0.0.1",
      port,
      pid: pinned.pid,
      countsCalls: true,
      headers,
      stop: () => pinned.stop(),
    };
  },
};
