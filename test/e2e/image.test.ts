/**
 * The image, as far as a machine without a container engine can tell. The Dockerfile's own COPY and RUN are done in folders
 * that stand for its stages, with the lockfile; what the last stage holds is started by its own ENTRYPOINT, ENV and USER
 * on a read-only file system, with compose.yaml's environment; its own HEALTHCHECK asks it.
 *
 * Not seen here: the base image (this machine's Node and libraries are in its place), the engine's networks, volumes and
 * limits, capabilities, what BuildKit makes of the syntax, and the other services of compose.yaml.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import {
  all,
  buildStage,
  commandOf,
  contextOf,
  only,
  type Places,
  pairs,
  parseDockerfile,
  readText,
  type Stage,
} from "../support/dockerfile.ts";
import { until } from "../support/gateway.ts";
import { freePort } from "../support/proxies.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const stages = parseDockerfile(readText(join(ROOT, "Dockerfile")));
const [build, runtime] = stages as [Stage, Stage];
const [uid, gid] = only(runtime, "USER").split(":") as [string, string];

/** A root that is read-only for whatever runs below it, and a user without rights. */
const CONFINED = ["unshare", "--mount", "sh", "-c", 'mount -o remount,bind,ro / && exec "$@"', "sh"];
const AS_USER = ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups", "--no-new-privs"];
const canConfine =
  spawnSync(CONFINED[0] as string, [...CONFINED.slice(1), ...AS_USER, process.execPath, "--version"])
    .status === 0;
const skipped = canConfine ? "" : " (skipped: needs root, unshare, mount and setpriv)";

const folder = mkdtempSync(join(tmpdir(), "sluice-image-"));
const app = join(folder, "runtime");
const files: string[] = [];

beforeAll(async () => {
  const places: Places = {
    context: ROOT,
    isInContext: contextOf(readText(join(ROOT, ".dockerignore"))),
    built: new Map(),
  };
  for (const [index, stage] of stages.entries()) {
    const place = index === stages.length - 1 ? app : join(folder, String(index));
    mkdirSync(place);
    await buildStage(stage, place, places);
  }
  files.push(
    ...(readdirSync(app, { recursive: true }) as string[]).filter((file) =>
      statSync(join(app, file)).isFile(),
    ),
  );
  // The folders that mkdtemp makes are its owner's alone.
  chmodSync(folder, 0o755);
}, 600_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("two stages, the second of which only copies", () => {
  expect(stages).toHaveLength(2);
  expect(all(build, "RUN").length).toBeGreaterThan(0);
  expect(all(runtime, "RUN")).toEqual([]);
  expect(runtime.base).toBe(build.base);
});

test("it holds the command and what that needs, and nothing that only development needs", () => {
  const { dependencies, devDependencies } = JSON.parse(readText(join(ROOT, "package.json"))) as Record<
    "dependencies" | "devDependencies",
    Record<string, string>
  >;
  for (const name of Object.keys(dependencies)) expect(files).toContain(`node_modules/${name}/package.json`);
  const lock = JSON.parse(readText(join(ROOT, "package-lock.json"))) as {
    readonly packages: Readonly<Record<string, { readonly dev?: boolean }>>;
  };
  const development = Object.keys(devDependencies)
    // What a library of ours needs too is there for that.
    .filter((name) => lock.packages[`node_modules/${name}`]?.dev === true)
    .filter((name) => files.includes(`node_modules/${name}/package.json`));
  expect(development).toEqual([]);
  expect(files).toEqual(
    expect.arrayContaining(["package.json", "LICENSE", "dist/main.js", "dist/web/index.html"]),
  );
  expect(files.filter((file) => /\.(map|d\.[cm]?ts)$|(^|\/)(\.npm|_cacache)\//.test(file))).toEqual([]);
  const top = new Set(files.map((file) => file.split("/", 1)[0]));
  expect([...top].sort()).toEqual(["LICENSE", "dist", "node_modules", "package.json"]);
});

test("nothing in it is written by its user", () => {
  const writable = files.filter((file) => (statSync(join(app, file)).mode & 0o002) !== 0);
  expect(writable).toEqual([]);
});

describe.skipIf(!canConfine)(`started as it says${skipped}`, () => {
  interface Compose {
    readonly services: { readonly gateway: { readonly environment: Record<string, string> } };
  }
  const compose = parse(readText(join(ROOT, "compose.yaml")), { merge: true }) as Compose;
  /** With nothing set on the machine: `${NAME:-default}` is its default. */
  const composed = Object.fromEntries(
    Object.entries(compose.services.gateway.environment).map(([name, value]) => [
      name,
      value.replace(/\$\{\w+:-([^}]*)\}/g, "$1"),
    ]),
  );
  const image = Object.assign({}, ...all(runtime, "ENV").map(({ text }) => pairs(text))) as Record<
    string,
    string
  >;
  let env: Record<string, string>;
  let port: number;
  let child: ChildProcess;
  let output = "";

  /** In the image's folder, as its user; `node` is this machine's. */
  function inside(command: readonly string[], user = AS_USER): ChildProcess {
    const args = command.map((word, index) => (index === 0 && word === "node" ? process.execPath : word));
    const [unshare = "", ...rest] = [...CONFINED, ...user, ...args];
    return spawn(unshare, rest, { cwd: app, env, stdio: ["ignore", "pipe", "pipe"] });
  }

  /** What a client sees that calls the gateway by that name. */
  async function asked(path: string, host: string): Promise<number | undefined> {
    const asking = request({ host: "127.0.0.1", port, path, headers: { host } }).end();
    const [answer] = await once(asking, "response");
    answer.resume();
    return answer.statusCode;
  }

  beforeAll(async () => {
    port = await freePort();
    env = { ...image, ...composed, PORT: String(port), PATH: process.env["PATH"] ?? "" };
    child = inside(commandOf(only(runtime, "ENTRYPOINT")));
    for (const stream of [child.stdout, child.stderr])
      stream?.on("data", (chunk: Buffer) => (output += chunk.toString()));
    await until("it listens", () => {
      if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}: ${output}`);
      return /Try:/.test(output);
    });
  });
  afterAll(() => child?.kill("SIGKILL"));

  test("by its user, on a file system that nobody writes", async () => {
    const status = readText(`/proc/${child.pid}/status`);
    expect(status).toMatch(new RegExp(`^Uid:\\s+${uid}\\s+${uid}\\s+${uid}\\s+${uid}$`, "m"));
    const writing = inside(["node", "-e", "fs.writeFileSync('written', '')"], []);
    let said = "";
    writing.stderr?.on("data", (chunk: Buffer) => (said += chunk));
    expect(await once(writing, "close")).toEqual([1, null]);
    expect(said).toContain("EROFS");
  });

  test("its HEALTHCHECK is content, and is not where nothing listens", async () => {
    const [check = ""] = all(runtime, "HEALTHCHECK").map(({ text }) =>
      text.replace(/^(--\S+\s+)*CMD\s+/, ""),
    );
    const command = commandOf(check);
    expect(await once(inside(command), "close")).toEqual([0, null]);
    const listening = env;
    env = { ...listening, PORT: String(await freePort()) };
    expect(await once(inside(command), "close")).toEqual([1, null]);
    env = listening;
  });

  test("answers the scrape by its service's name, browsers by loopback, and nobody by another name", async () => {
    expect(await asked("/metrics", "gateway:8000")).toBe(200);
    expect(await asked("/metrics", `127.0.0.1:${port}`)).toBe(200);
    expect(await asked("/", "localhost:8000")).toBe(200);
    expect(await asked("/metrics", "rebound.example.com")).toBe(403);
    expect(await asked("/metrics", "gateway:9000")).toBe(403);
  });

  test("answers, and lets what runs end when it is stopped", async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/chat`, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "text/plain" },
      body: JSON.stringify({ prompt: "from the image" }),
    });
    expect(answer.status).toBe(200);
    const exited = once(child, "exit");
    child.kill((all(runtime, "STOPSIGNAL")[0]?.text ?? "SIGTERM") as NodeJS.Signals);
    await until("it is not ready", async () => (await asked("/readyz", "127.0.0.1")) === 503);
    expect(await asked("/livez", "127.0.0.1")).toBe(200);
    expect(await answer.text()).toContain("You said: “from the image”");
    expect(await exited).toEqual([0, null]);
  });
});
