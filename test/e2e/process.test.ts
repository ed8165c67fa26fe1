/** The command as a process: what it prints, what it refuses, what it exits with. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import net from "node:net";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, test } from "vitest";
import { startEmulator } from "../../src/emulator/index.ts";
import { type GatewayProcess, startProcess, until } from "../support/gateway.ts";
import { chat, post, refusal } from "../support/requests.ts";

const MAIN = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
  version: string;
};

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

type Env = Readonly<Record<string, string>>;

/** A gateway whose greeting is whole. */
async function started(env: Env, args: readonly string[] = []): Promise<GatewayProcess> {
  const gateway = await startProcess(env, args);
  closing.push(() => gateway.stop());
  await until("the curl to try is printed", () => /Try:\n {2}curl .*\n/.test(gateway.output()));
  return gateway;
}

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the command to its end. */
async function run(args: readonly string[], env: Env = {}): Promise<Ended> {
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { PATH: process.env["PATH"] ?? "", PORT: "0", ...env },
    stdio: ["ignore", "pipe", "pipe"],
    // One that starts to serve although it should not does not stay behind.
    timeout: 50_000,
    killSignal: "SIGKILL",
  });
  const said = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk: Buffer) => (said.stdout += chunk));
  child.stderr.on("data", (chunk: Buffer) => (said.stderr += chunk));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, ...said };
}

/** One line on standard error that names the setting, and nothing that listens. */
function expectRefused(ended: Ended, code: number, named: RegExp): void {
  expect(ended).toMatchObject({ code, stdout: "" });
  expect(ended.stderr).toMatch(/^[^\n]+\n$/);
  expect(ended.stderr).toMatch(named);
  expect(ended.stderr).not.toMatch(/\.ts:\d|node:internal/);
}

const printed = (gateway: GatewayProcess, label: string): string | undefined =>
  new RegExp(`^ {2}${label} +(.*)$`, "m").exec(gateway.output())?.[1];

/** The command line that it says to try. */
const tried = (gateway: GatewayProcess): string => /^ {2}(curl .*)$/m.exec(gateway.output())?.[1] ?? "";

/** Does what the printed curl would do, with no shell and no curl. */
function asPrinted(line: string): Promise<Response> {
  const [, url = "", flags = "", body = ""] = /^curl -N (\S+) ((?:-H '[^']*' )+)-d '(.*)'$/.exec(line) ?? [];
  const headers = [...flags.matchAll(/-H '([^:]+): ([^']*)'/g)].map(([, name, value]) => [name, value]);
  return fetch(url, { method: "POST", headers: Object.fromEntries(headers) as Env, body });
}

async function occupied(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  closing.push(async () => server.close());
  return (server.address() as net.AddressInfo).port;
}

/** A port that nothing listens on, for now. */
async function vacant(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

describe("the start", () => {
  test("without any setting: the demo upstream, the addresses, the limits, and a curl that works", async () => {
    const gateway = await started({});
    expect(printed(gateway, "API")).toBe(`${gateway.url}/v1`);
    expect(printed(gateway, "playground")).toBe(`${gateway.url}/`);
    expect(printed(gateway, "metrics")).toBe(`${gateway.url}/metrics`);
    expect(printed(gateway, "upstream")).toMatch(
      /^demo at http:\/\/127\.0\.0\.1:\d+\/v1 \(reached, model \S+\)$/,
    );
    expect(printed(gateway, "limits")).toBe("256 at once, 1024 waiting for at most 30000 ms");
    for (const label of ["API", "playground", "metrics"]) {
      const path = label === "API" ? "/models" : "";
      expect((await fetch(`${printed(gateway, label)}${path}`)).status).toBe(200);
    }
    const answer = await asPrinted(tried(gateway));
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    expect(await answer.text()).toContain("You said: “hello”");
  });

  const hasCurl = spawnSync("curl", ["--version"]).status === 0;
  test.skipIf(!hasCurl)(`the printed curl in a shell${hasCurl ? "" : " (skipped: no curl)"}`, async () => {
    const gateway = await started({});
    const shell = spawn("sh", ["-c", tried(gateway)], { stdio: ["ignore", "pipe", "ignore"] });
    let text = "";
    shell.stdout.on("data", (chunk: Buffer) => (text += chunk));
    expect(await once(shell, "close")).toEqual([0, null]);
    expect(text).toContain("You said: “hello”");
  });

  test("an upstream by flag: named, asked, and the curl names a model that it lists", async () => {
    const emulator = await startEmulator({ models: ["org/first", "second"] });
    closing.push(() => emulator.close());
    const args = ["--upstream", emulator.url, "--max-concurrency=3", "--max-queue", "5"];
    const gateway = await started({ SLUICE_MAX_CONCURRENCY: "9" }, args);
    expect(printed(gateway, "upstream")).toContain(` at ${emulator.url} (reached, models org/first, second)`);
    expect(printed(gateway, "limits")).toMatch(/^3 at once, 5 waiting/);
    expect((await asPrinted(tried(gateway))).status).toBe(200);
    expect(emulator.requests()[0]?.model).toBe("org/first");
  });

  test("an upstream that is not there is said, and found once it is", async () => {
    const port = await vacant();
    const gateway = await started({ OPENAI_BASE_URL: `http://127.0.0.1:${port}/v1` });
    expect(printed(gateway, "upstream")).toMatch(/not reached: .*ECONNREFUSED/);
    expect((await fetch(`${gateway.url}/readyz`)).status).toBe(200);
    const ask = () => post(`${gateway.url}/v1/chat/completions`, chat({ text: "here now" }));
    expect(await refusal(ask())).toMatchObject({ status: 502, code: "upstream_unreachable" });
    const emulator = await startEmulator({ port });
    closing.push(() => emulator.close());
    expect((await ask()).status).toBe(200);
  });

  test.each([
    ["0.0.0.0", { SLUICE_AUTH: "none" }],
    ["0.0.0.0", { SLUICE_API_KEYS: "alice:sesame" }],
    ["localhost", {}],
  ])("on host %s with %o the printed curl works, with a key where one is asked for", async (host, env) => {
    const gateway = await started({ HOST: host, ...env });
    const line = tried(gateway);
    expect(line.includes("authorization")).toBe("SLUICE_API_KEYS" in env);
    const answer = await asPrinted(line.replace("Bearer KEY", "Bearer sesame"));
    expect(await answer.text()).toContain("You said: “hello”");
  });

  test("SIGTERM ends it with exit code 0", async () => {
    const gateway = await started({});
    gateway.child.kill("SIGTERM");
    expect(await gateway.exited).toBe(0);
  });
});

describe("what it does instead of starting", () => {
  test("--help, --version and --check-config", async () => {
    const help = await run(["--help"]);
    expect(help).toMatchObject({ code: 0, stderr: "" });
    for (const name of ["--upstream", "--max-concurrency", "SLUICE_API_KEYS", "--check-config", "emulator"]) {
      expect(help.stdout).toContain(name);
    }
    expect(await run(["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
    const check = await run(["--check-config", "--max-queue", "3"]);
    expect(check).toMatchObject({ code: 0, stdout: "The configuration is valid.\n", stderr: "" });
  });

  test.concurrent.each<[RegExp, string[], Env]>([
    [/--max-concurency\b.*--max-concurrency/, ["--max-concurency", "3"], {}],
    [/--max-concurrency|SLUICE_MAX_CONCURRENCY/, ["--max-concurrency", "0"], {}],
    [/--host\b/, ["--host"], {}],
    [/argument 1/, ["serve"], {}],
    [/PORT/, [], { PORT: "99999" }],
    [/LOG_LEVEL/, [], { LOG_LEVEL: "loud" }],
    [/SLUICE_MAX_QUEUE/, [], { SLUICE_MAX_QUEUE: "many" }],
    [/SLUICE_HEARTBEAT_MS/, ["--check-config"], { SLUICE_HEARTBEAT_MS: "-1" }],
    [/HOST.*SLUICE_API_KEYS/, [], { HOST: "0.0.0.0" }],
    [/OPENAI_BASE_URL/, [], { OPENAI_BASE_URL: "nonsense" }],
    [/OPENAI_API_KEY/, ["--upstream", "openai"], {}],
    [/SLUICE_CONFIG/, [], { SLUICE_CONFIG: "/nowhere/sluice.json" }],
    [/SLUICE_REDIS_URL/, [], { SLUICE_REDIS_URL: "redis://127.0.0.1" }],
  ])("%s is named, with exit code 2, for %j %j", async (named, args, env) => {
    expectRefused(await run(args, env), 2, named);
  });

  test("a secret on the command line is refused and not shown", async () => {
    const ended = await run(["--api-keys=alice:sesame"]);
    expectRefused(ended, 2, /--api-keys.*SLUICE_API_KEYS/);
    expect(ended.stderr).not.toContain("sesame");
  });

  test("a port in use, and an address that is not ours, are one clear line and exit code 1", async () => {
    const port = await occupied();
    expectRefused(await run(["--port", String(port)]), 1, new RegExp(`PORT.*${port}.*in use`));
    const elsewhere = { HOST: "198.51.100.1", SLUICE_AUTH: "none" };
    expectRefused(await run([], elsewhere), 1, /HOST.*198\.51\.100\.1/);
  });
});

describe("sluice emulator", () => {
  async function emulator(...args: readonly string[]): Promise<{ url: string; child: ChildProcess }> {
    const child = spawn(process.execPath, [MAIN, "emulator", "--port", "0", ...args], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    closing.push(async () => child.kill("SIGKILL"));
    const [chunk] = (await once(child.stdout, "data")) as [Buffer];
    return { url: /http:\S+/.exec(chunk.toString())?.[0] ?? "", child };
  }

  test("is an upstream of its own, for a gateway beside it, until it is told to stop", async () => {
    const { url, child } = await emulator("--model", "tiny");
    const gateway = await started({}, ["--upstream", url]);
    expect(printed(gateway, "upstream")).toContain("reached, model tiny");
    const answer = await post(`${gateway.url}/v1/chat/completions`, chat({ text: "at your service" }));
    expect(await answer.json()).toMatchObject({ choices: [{ message: { content: "at your service" } }] });
    child.kill("SIGTERM");
    expect(await once(child, "exit")).toEqual([0, null]);
  });

  test("refuses like the gateway does", async () => {
    expect(await run(["emulator", "--help"])).toMatchObject({ code: 0, stderr: "" });
    expectRefused(await run(["emulator", "--prot", "1"]), 2, /--prot/);
    expectRefused(await run(["emulator", "--port", "many"]), 2, /--port/);
    const port = await occupied();
    expectRefused(await run(["emulator", "--port", String(port)]), 1, new RegExp(`EADDRINUSE.*${port}`));
  });
});
