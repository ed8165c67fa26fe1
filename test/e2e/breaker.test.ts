/** An upstream that keeps failing is no longer asked first, and is found again once it serves. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { type Emulator, startEmulator } from "../../src/emulator/index.ts";
import { startGateway, type TestGateway, until } from "../support/gateway.ts";

const folder = mkdtempSync(join(tmpdir(), "sluice-breaker-"));
let gateway: TestGateway | undefined;
const emulators: Emulator[] = [];

afterEach(async () => {
  await gateway?.close();
  for (const emulator of emulators) await emulator.close();
  rmSync(folder, { recursive: true, force: true });
});

async function emulatorOn(port: number): Promise<Emulator> {
  const emulator = await startEmulator({ port, defaults: { text: "well" } });
  emulators.push(emulator);
  return emulator;
}

/** Which upstream answered a request. */
async function answeredBy(url: string): Promise<string | null> {
  const answer = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "m", stream: true, messages: [{ role: "user", content: "?" }] }),
  });
  expect(await answer.text()).toContain("[DONE]");
  return answer.headers.get("x-sluice-upstream");
}

test("five failures in a row and it is left alone; after the pause one request finds it again", async () => {
  const first = await emulatorOn(0);
  const { port, url: deadUrl } = first;
  const second = await emulatorOn(0);
  await first.close();
  const file = join(folder, "sluice.json");
  const upstreams = [
    { name: "A", baseUrl: deadUrl },
    { name: "B", baseUrl: second.url },
  ];
  writeFileSync(file, JSON.stringify({ upstreams }));
  gateway = await startGateway({ env: { SLUICE_CONFIG: file, OPENAI_BASE_URL: "" } });
  const { url, metric } = gateway;
  for (let count = 0; count < 12; count++) expect(await answeredBy(url)).toBe("B");
  const refused = { upstream: "A", code: "upstream_unreachable" };
  expect(await metric("sluice_upstream_requests_total", refused)).toBe(5);
  expect(await metric("sluice_upstream_requests_total", { upstream: "B", code: "200" })).toBe(12);
  const available = (upstream: string) => metric("sluice_upstream_available", { upstream });
  expect([await available("A"), await available("B")]).toEqual([0, 1]);
  const again = await emulatorOn(port);
  await until("A is found again", async () => (await answeredBy(url)) === "A", 40_000);
  expect(await answeredBy(url)).toBe("A");
  expect(await available("A")).toBe(1);
  expect(await metric("sluice_upstream_requests_total", refused)).toBe(5);
  expect(await metric("sluice_upstream_requests_total", { upstream: "A", code: "200" })).toBe(
    again.stats.requests,
  );
});
