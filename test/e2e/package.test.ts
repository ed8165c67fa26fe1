/**
 * The package as somebody gets it: built and packed apart from this folder, installed from its tarball into an empty one.
 * SLUICE_NODES names further Node binaries to start it with, separated like PATH.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readText, run } from "../support/dockerfile.ts";
import { metricOf, until } from "../support/gateway.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const BIN = join(ROOT, "node_modules", ".bin");
const manifest = JSON.parse(readText(join(ROOT, "package.json"))) as {
  readonly files: readonly string[];
  readonly version: string;
};
const NODES = [process.execPath, ...(process.env["SLUICE_NODES"] ?? "").split(delimiter)].filter(Boolean);

const folder = mkdtempSync(join(tmpdir(), "sluice-package-"));
const source = join(folder, "source");
const home = join(folder, "home");
const installed = join(home, "node_modules", "sluice");
let tarball: string;
let packed: readonly string[];

beforeAll(async () => {
  mkdirSync(source);
  mkdirSync(home);
  const needed = manifest.files.filter((name) => name !== "dist");
  for (const name of [
    ...needed,
    "LICENSE",
    "package.json",
    "src",
    "build.ts",
    "tsconfig.json",
    "tsconfig.build.json",
  ])
    cpSync(join(ROOT, name), join(source, name), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(source, "node_modules"));
  // By its `prepack`, npm builds it first.
  await run(["npm", "pack", "--pack-destination", folder], source);
  tarball = join(folder, `sluice-${manifest.version}.tgz`);
  packed = (await run(["tar", "-tzf", tarball], folder)).trim().split("\n");
  writeFileSync(join(home, "package.json"), '{ "private": true, "type": "module" }\n');
  await run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", tarball], home);
}, 300_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("holds what it needs and is read by, and nothing else", () => {
  const top = new Set(packed.map((path) => path.split("/")[1]));
  expect([...top].sort()).toEqual([...manifest.files, "LICENSE", "package.json"].sort());
  const kinds = new Set(
    packed
      .filter((path) => path.startsWith("package/dist/"))
      // Those of the library that the reference page is drawn with ask to go with it.
      .filter((path) => !/\/reference\/(.+\.)?(LICENSE|NOTICE)(\.txt)?$/.test(path))
      .map((path) => /\.[^./]+$/.exec(path)?.[0]),
  );
  expect([...kinds].sort()).toEqual([".css", ".html", ".js", ".json", ".ts"]);
  const sources = packed.filter((path) => path.endsWith(".ts") && !path.endsWith(".d.ts"));
  expect(sources).toEqual([]);
});

test("publint and attw find nothing to say", async () => {
  expect(await run([join(BIN, "publint"), "run", tarball, "--strict"], folder)).toContain("All good!");
  const judged = await run([join(BIN, "attw"), tarball, "--profile", "esm-only", "--format", "json"], folder);
  const { analysis } = JSON.parse(judged) as {
    analysis: { problems: { kind: string; resolutionKind?: string }[] };
  };
  // Not for `require` and resolvers older than `exports`: the package is ES modules.
  const modern = analysis.problems.filter(
    ({ resolutionKind }) => !/^node(10|16-cjs)$/.test(resolutionKind ?? ""),
  );
  expect(modern).toEqual([]);
});

test("its types are sound for a program that uses them", async () => {
  const program = `
    import { ConfigError, createGateway, type Gateway, type Settings } from "sluice";
    import Fastify from "fastify";
    const settings: Settings = { maxConcurrency: 2, apiKeys: ["a:b", { name: "c", key: "d" }], port: undefined };
    const gateway: Gateway = createGateway(settings);
    const app = Fastify();
    await app.register(gateway.plugin, { prefix: "/llm" });
    // @ts-expect-error: a misspelt setting
    createGateway({ maxConcurency: 2 });
    console.log(gateway.url?.length, new ConfigError("a", "b").setting);
  `;
  writeFileSync(join(home, "program.ts"), program);
  const types = ["--types", "node", "--typeRoots", join(ROOT, "node_modules", "@types")];
  const strict = ["--strict", "--noEmit", "--skipLibCheck", "--module", "nodenext", "--target", "es2024"];
  const lib = ["--lib", "es2024,esnext.disposable"];
  await run([join(BIN, "tsc"), ...strict, ...lib, ...types, "program.ts"], home);
});

describe("the examples of docs/PROGRAMMATIC.md run as they stand", () => {
  const document = readText(join(ROOT, "docs", "PROGRAMMATIC.md"));
  const [listening = "", mounted = "", stopping = ""] = [
    ...document.matchAll(/^```js\n([\s\S]*?)^```$/gm),
  ].map(([, code]) => code);

  test.each([
    ["a listener of its own", listening, /You said: “hello”/],
    ["part of a Fastify app", mounted, /event: end\ndata: \{"status":"completed"/],
    ["stopped by a signal", stopping, /^http:\/\/127\.0\.0\.1:\d+\n$/],
  ])("%s", async (name, code, said) => {
    const file = `${name.replaceAll(" ", "-")}.js`;
    writeFileSync(join(home, file), code as string);
    expect(await run([process.execPath, file], home)).toMatch(said);
  });
});

describe.each(NODES)("with %s", (node) => {
  const PATH = `${dirname(node)}${delimiter}${process.env["PATH"]}`;

  function sluice(...args: string[]): ChildProcess {
    const env = { PATH, PORT: "0" };
    return spawn(join(home, "node_modules", ".bin", "sluice"), args, {
      cwd: home,
      env,
      stdio: ["ignore", "pipe", "inherit"],
    });
  }

  test("the command starts a gateway whose demo upstream answers", async () => {
    const child = sluice();
    let output = "";
    child.stdout?.on("data", (chunk: Buffer) => (output += chunk.toString()));
    try {
      await until("it listens", () => /Try:/.test(output) || child.exitCode !== null);
      const url = /playground +(http:\S+?)\/\s/.exec(output)?.[1];
      const answer = await fetch(`${url}/v1/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ messages: [{ role: "user", content: "hello" }], stream: true }),
      });
      const running = (await run([node, "--version"], home)).trim().replace("v", "");
      expect(await metricOf(url ?? "", "sluice_build_info", { node: running })).toBe(1);
      expect(await answer.text()).toMatch(/^data: \{[\s\S]*data: \[DONE\]\n\n$/);
      for (const file of [
        "/",
        "/playground.js",
        "/playground/marked.js",
        "/playground/purify.js",
        "/openapi.json",
      ])
        expect((await fetch(url + file)).status, file).toBe(200);
      child.kill("SIGTERM");
      expect(await once(child, "exit")).toEqual([0, null]);
    } finally {
      child.kill("SIGKILL");
    }
  });

  test("its version and its help", async () => {
    const said = async (flag: string): Promise<string> => {
      const child = sluice(flag);
      const chunks: Buffer[] = [];
      child.stdout?.on("data", (chunk: Buffer) => chunks.push(chunk));
      expect(await once(child, "close")).toEqual([0, null]);
      return String(Buffer.concat(chunks));
    };
    expect(await said("--version")).toBe(`${manifest.version}\n`);
    expect(await said("--help")).toContain("Usage:");
  });
});

test("both entries and the manifest can be imported", async () => {
  const names = ["sluice", "sluice/client", "sluice/package.json"];
  const code = `for (const name of ${JSON.stringify(names)}) {
    const module = await import(name, name.endsWith("json") ? { with: { type: "json" } } : undefined);
    console.log(name, Object.keys(module).length > 0);
  }`;
  const said = await run([process.execPath, "--input-type=module", "-e", code], home);
  expect(said).toBe(names.map((name) => `${name} true\n`).join(""));
  expect(readText(join(installed, "dist", "main.js"))).toMatch(/^#!\/usr\/bin\/env node\n/);
});
