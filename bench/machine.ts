import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { arch, cpus, release, totalmem, type } from "node:os";
import { cores } from "./processes.ts";
import { portkeyVersion } from "./subjects/portkey.ts";

/** Where it was measured, and with what: one line each. */
export function machine(): string[] {
  const nginx = spawnSync("nginx", ["-v"], { encoding: "utf8" }).stderr?.trim();
  const portkey = portkeyVersion();
  return [
    `${cpus().length} cores (${cpus()[0]?.model.trim()}), ${Math.round(totalmem() / 2 ** 30)} GB, ${type()} ${release()} ${arch()}`,
    cores === undefined
      ? "not pinned"
      : `subject on core ${cores.subject}; upstream and load on ${cores.load}`,
    `Node ${process.version}; ${["undici", "ws", "fastify", "openai"].map((name) => `${name} ${versionOf(name)}`).join(", ")}`,
    ...(nginx ? [nginx.replace("nginx version: ", "")] : []),
    ...(portkey === undefined ? [] : [`Portkey ${portkey}`]),
  ];
}

function versionOf(name: string): string {
  const lock = JSON.parse(readFileSync(new URL("../package-lock.json", import.meta.url), "utf8")) as {
    packages: Record<string, { version: string }>;
  };
  return lock.packages[`node_modules/${name}`]?.version ?? "?";
}
