/** The examples of docs/CLIENT.md, each run as the program that it is, and its page in Chromium by test/e2e/client-chromium.test.ts. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startGateway, type TestGateway } from "../support/gateway.ts";

const DOCUMENT = readFileSync(new URL("../../docs/CLIENT.md", import.meta.url), "utf8");
const CLIENT = new URL("../../src/client/index.ts", import.meta.url).href;
const EXAMPLES = [...DOCUMENT.matchAll(/^```js\n([\s\S]*?)^```$/gm)].map(([, code]) => code as string);
const TEXT = "Water finds its level.";

/** Where running TypeScript is an experiment of Node's, it says so. */
const QUIET = "--disable-warning=ExperimentalWarning";

/** What each prints, in their order. */
const PRINTED: readonly RegExp[] = [
  /^Water finds its level\.\ncompleted after [\d.]+ ms\n$/,
  /^websocket 0\n1 \{.*\n\d+ \{.*\}\n$/s,
  /^cancelled\ntrue\n$/,
  /^invalid_request false\n$/,
  /^Water finds its level\.\n$/,
];

let gateway: TestGateway;
let keyed: TestGateway;
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "sluice-examples-"));
  gateway = await startGateway();
  keyed = await startGateway({ env: { SLUICE_API_KEYS: "example-key" } });
  for (const { emulator } of [gateway, keyed]) emulator.script = () => ({ text: TEXT, first_token_ms: 50 });
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await gateway?.close();
  await keyed?.close();
});

test.each(EXAMPLES.map((code, index) => [index + 1, code] as const))(
  "example %i runs",
  async (number, code) => {
    const { url } = code.includes("example-key") ? keyed : gateway;
    const program = code
      .replace('"sluice/client"', JSON.stringify(CLIENT))
      .replace("http://127.0.0.1:8000", url);
    expect(program).not.toBe(code);
    const file = join(folder, `${number}.mjs`);
    writeFileSync(file, program);
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [QUIET, file], {
      timeout: 50_000,
    });
    expect(stderr).toBe("");
    expect(stdout).toMatch(PRINTED[number - 1] as RegExp);
  },
);

test("every example is looked at", () => {
  expect(EXAMPLES.length).toBe(PRINTED.length);
});
