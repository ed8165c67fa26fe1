/** What docs/DEPLOYMENT.md says beside the proxies' configurations, which tests of their own run. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { readCommand, settingsTable } from "../../src/config.ts";
import { blockOf, changed } from "../support/proxies.ts";

const DOCUMENT = new URL("../../docs/DEPLOYMENT.md", import.meta.url);
const text = readFileSync(DOCUMENT, "utf8");
const prose = text.replace(/^```[\s\S]*?^```$/gm, "");

const command = readCommand([], {});
if (command.kind !== "serve") throw new Error("the defaults do not start a gateway");
const defaults = command.config;

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };

/** The one number, or time in seconds, that stands after a word. */
function numberAfter(word: string, where: string): number {
  const found = [...where.matchAll(new RegExp(`${word}[ =:]+(\\d+)([smh]?)`, "g"))];
  expect(found, word).toHaveLength(1);
  const [, digits, unit = ""] = found[0] ?? [];
  return Number(digits) * (UNITS[unit] ?? 1);
}

test("it links only to what is there", () => {
  const headings = (file: URL): string[] =>
    [...readFileSync(file, "utf8").matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
      (heading ?? "")
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, "")
        .replaceAll(" ", "-"),
    );
  const broken = [...prose.matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, link]) => new URL(link ?? "", DOCUMENT))
    .filter((url) => url.protocol === "file:")
    .filter(({ hash, href }) => {
      const file = new URL(href.replace(/#.*/, ""));
      return (
        !existsSync(file) || (hash !== "" && !headings(file).includes(decodeURIComponent(hash.slice(1))))
      );
    });
  expect(broken).toEqual([]);
});

test("it names only settings that there are", () => {
  const known = new Set(settingsTable().match(/\b(?:SLUICE|OPENAI)_[A-Z_]+[A-Z]/g));
  const named = new Set(text.match(/\b(?:SLUICE|OPENAI)_[A-Z_]+[A-Z]/g));
  expect([...named].filter((name) => !known.has(name))).toEqual([]);
});

describe("its figures fit the defaults", () => {
  // The last bytes have 2 s to leave.
  const stopS = defaults.shutdownTimeoutMs / 1000 + 2;
  const silentS = (defaults.queueTimeoutMs + defaults.totalTimeoutMs) / 1000;

  test("whoever stops it waits for longer than it takes", () => {
    expect(numberAfter("TimeoutStopSec", blockOf("ini"))).toBeGreaterThan(stopS);
    expect(numberAfter("--stop-timeout", blockOf("sh", "docker run"))).toBeGreaterThan(stopS);
    expect(numberAfter("stop_grace_period", prose)).toBeGreaterThan(stopS);
    const pod = blockOf("yaml", "kind: Deployment");
    const preStopS = Number(/setTimeout\(\(\) => \{\}, (\d+)\)/.exec(pod)?.[1]) / 1000;
    expect(numberAfter("terminationGracePeriodSeconds", pod)).toBeGreaterThan(preStopS + stopS);
  });

  test("proxies wait for longer than an answer that is not streamed, and take larger bodies", () => {
    expect(numberAfter("proxy_read_timeout", blockOf("nginx"))).toBeGreaterThan(silentS);
    for (const side of ["client", "server"])
      expect(numberAfter(`timeout ${side}`, blockOf("haproxy"))).toBeGreaterThan(silentS);
    expect(numberAfter("timeout tunnel", blockOf("haproxy"))).toBeGreaterThan(defaults.heartbeatMs / 500);
    const bodyMiB = Number(/client_max_body_size (\d+)m;/.exec(blockOf("nginx"))?.[1]);
    expect(bodyMiB * 2 ** 20).toBeGreaterThan(defaults.maxBodyBytes);
  });
});

/** Has the tool judge a file with that text. */
function judge(tool: readonly string[], name: string, content: string): string {
  const folder = mkdtempSync(join(tmpdir(), "sluice-deployment-"));
  try {
    writeFileSync(join(folder, "sluice.key"), "key");
    writeFileSync(join(folder, name), content.replaceAll("FOLDER", folder));
    const [binary = "", ...args] = tool;
    const { status, stdout, stderr } = spawnSync(binary, [...args, join(folder, name)], { encoding: "utf8" });
    return status === 0 && stderr === "" ? "" : `${status}: ${stdout}${stderr}`;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const has = (binary: string): boolean => spawnSync(binary, ["--version"]).status === 0;

const hasPromtool = has("promtool");
test.skipIf(!hasPromtool)(`promtool takes the scrape${hasPromtool ? "" : " (skipped: no promtool)"}`, () => {
  const scrape = blockOf("yaml", "scrape_configs");
  const placed = changed(scrape, [["/etc/prometheus/sluice.key", "FOLDER/sluice.key"]]);
  expect(judge(["promtool", "check", "config"], "prometheus.yml", placed)).toBe("");
});

const hasSystemd = has("systemd-analyze");
test.skipIf(!hasSystemd)(
  `systemd takes the unit${hasSystemd ? "" : " (skipped: no systemd-analyze)"}`,
  () => {
    const unit = changed(blockOf("ini"), [
      ["/usr/bin/node /opt/sluice/dist/main.js", `${process.execPath} ${fileURLToPath(DOCUMENT)}`],
    ]);
    expect(judge(["systemd-analyze", "verify"], "sluice.service", unit)).toBe("");
  },
);
