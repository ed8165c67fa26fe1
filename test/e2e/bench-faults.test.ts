/** `sluice bench` where requests fail, the run is interrupted or the key is wrong: nothing is hidden, and no key is told. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, test } from "vitest";
import { type Emulator, startEmulator } from "../../src/emulator/index.ts";
import { BenchFolder, rowOf, runBench, startBench } from "../support/bench-process.ts";
import { type GatewayProcess, startProcess, until } from "../support/gateway.ts";
import { startPlainUpstream } from "../support/plain-upstream.ts";

let emulator: Emulator;
let gateway: GatewayProcess;
let folder: BenchFolder;

beforeAll(async () => {
  emulator = await startEmulator();
  gateway = await startProcess({ OPENAI_BASE_URL: emulator.url, LOG_LEVEL: "silent" });
});
afterAll(async () => {
  await gateway.stop();
  await emulator.close();
});
beforeEach(() => {
  folder = new BenchFolder();
  emulator.reset();
});
afterEach(() => folder.remove());

describe("a request has failed", () => {
  const failing: [string, string, object][] = [
    ["without [DONE]", "no_done", { tokens: 3, done: false }],
    ["cut off in the middle", "no_done", { tokens: 3, fault: { kind: "eof", after_tokens: 2 } }],
    ["by a reset", "ECONNRESET", { tokens: 3, fault: { kind: "reset", after_tokens: 2 } }],
    [
      "by an error in the stream",
      "emulator_fault",
      { tokens: 3, fault: { kind: "error_event", after_tokens: 2 } },
    ],
    ["by garbage", "invalid_json", { tokens: 3, fault: { kind: "garbage", after_tokens: 2 } }],
    ["without content", "no_content", { tokens: 0 }],
    ["by silence", "request_timeout", { tokens: 3, fault: { kind: "hang", after_tokens: 2 } }],
    ["by a plain refusal", "http_418", { tokens: 3, fault: { kind: "plain_error", status: 418 } }],
  ];

  it.each(failing)("%s", async (_, code, script) => {
    emulator.queue([null, script, null]);
    const load = ["--num-prompts", "3", "--concurrency", "1", "--request-timeout", "3", "--max-tokens", "4"];
    const ended = await runBench([...load, "--json", folder.json, emulator.url]);
    expect(ended).toMatchObject({ code: 0, stderr: "" });
    const result = folder.result();
    expect(result).toMatchObject({ completed: 2, failed: 1, error_codes: { [code]: 1 } });
    expect(result.errors.map((error) => error.split(":")[0])).toEqual(["", code, ""]);
    expect(result.output_lens).toEqual([4, 0, 4]);
    expect(ended.stdout).toContain(`Failed with ${code}: 1\n`);
  });

  it.each(["events", "websocket"])("over %s with the gateway's word", async (transport) => {
    emulator.queue([{ tokens: 5, fault: { kind: "reset", after_tokens: 2 } }, null]);
    const load = ["--num-prompts", "2", "--concurrency", "1", "--max-tokens", "4", "--transport", transport];
    const ended = await runBench([...load, "--json", folder.json, gateway.url]);
    expect(ended).toMatchObject({ code: 0, stderr: "" });
    expect(folder.result()).toMatchObject({ completed: 1, error_codes: { upstream_disconnected: 1 } });
  });

  it.each(["sse", "events", "websocket"])("as all do over %s where nobody listens", async (transport) => {
    const closed = await startEmulator();
    const { url } = closed;
    await closed.close();
    const load = ["--num-prompts", "3", "--model", "m", "--transport", transport];
    const ended = await runBench([...load, "--json", folder.json, url]);
    expect(ended).toMatchObject({ code: 1, stderr: "" });
    expect(rowOf(ended.stdout, "Failed requests")).toBe("3");
    expect(rowOf(ended.stdout, "Mean TTFT (ms)")).toBe("n/a");
    expect(folder.result()).toMatchObject({ completed: 0, failed: 3, mean_ttft_ms: null, p99_itl_ms: null });
    expect(folder.result().error_codes).toEqual({ ECONNREFUSED: 3 });
  });
});

test.each(["events", "websocket"])(
  "%s against a server that does not have it fails by its status",
  async (transport) => {
    const load = ["--num-prompts", "2", "--model", "m", "--transport", transport, "--json", folder.json];
    expect(await runBench([...load, emulator.url])).toMatchObject({ code: 1, stderr: "" });
    expect(folder.result().failed).toBe(2);
  },
);

test.each(["sse", "events", "websocket"])(
  "Ctrl-C over %s reports what there is, and leaves nothing running",
  async (transport) => {
    const script = JSON.stringify({ emulator: { tokens: 40, pace_ms: 20 } });
    const args = [
      "--num-prompts",
      "500",
      "--concurrency",
      "4",
      "--model",
      "sluice-demo",
      "--transport",
      transport,
    ];
    const bench = startBench([...args, "--extra-body", script, "--json", folder.json, gateway.url]);
    await until(
      "some are done and some are running",
      () => emulator.stats.completed >= 4 && emulator.stats.open > 0,
    );
    bench.child.kill("SIGINT");
    const ended = await bench.ended;
    expect(ended.code).toBe(130);
    const result = folder.result();
    expect(result.failed).toBe(0);
    expect(result.completed).toBeGreaterThan(0);
    expect(result.completed + result.interrupted).toBe(result.errors.length);
    expect(result.completed).toBeLessThan(500);
    expect(rowOf(ended.stdout, "Successful requests")).toBe(String(result.completed));
    expect(ended.stdout).toContain(`and ${500 - result.errors.length} not yet sent`);
    await until("the upstream has nothing open", () => emulator.stats.open === 0);
  },
);

describe("the key", () => {
  const KEY = "sk-very-secret-0123456789";

  it("opens a server from the flag or the environment", async () => {
    const locked = await startEmulator({ apiKey: KEY });
    const load = ["--num-prompts", "2", "--max-tokens", "3", "--json", folder.json, locked.url];
    expect(await runBench(load, { OPENAI_API_KEY: KEY })).toMatchObject({ code: 0, stderr: "" });
    expect(await runBench([...load, "--api-key", KEY], {})).toMatchObject({ code: 0, stderr: "" });
    expect(folder.text()).not.toContain(KEY);
    expect(await runBench(load, {})).toMatchObject({ code: 1, stdout: "" });
    await locked.close();
  });

  it("is never printed, even if the server quotes it", async () => {
    const quoting = await startPlainUpstream((response, _, { headers }) => {
      const error = { message: `Incorrect key: ${headers.authorization}`, code: "invalid_api_key" };
      response.writeHead(401, { "content-type": "application/json" }).end(JSON.stringify({ error }));
    });
    const load = [
      "--num-prompts",
      "2",
      "--warmup",
      "1",
      "--json",
      folder.json,
      "--api-key",
      KEY,
      quoting.url,
    ];
    const ended = await runBench(load);
    expect(ended.code).toBe(1);
    expect(folder.result().error_codes).toEqual({ invalid_api_key: 2 });
    expect(ended.stdout).toContain("Incorrect key: Bearer ***");
    expect(ended.stdout + ended.stderr + folder.text()).not.toContain(KEY);
    await quoting.close();
  });
});
