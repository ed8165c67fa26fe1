/** The commands and programs of README.md and docs/TOUR.md, run as they stand but for the address, the id and the position. */
import { execFile, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Script } from "../../src/emulator/index.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";

const ROOT = new URL("../../", import.meta.url);
const read = (name: string): string => readFileSync(new URL(name, ROOT), "utf8");
const README = read("README.md");
const TOUR = read("docs/TOUR.md");

/** What stands after a prompt in a document's sessions. */
const commandsOf = (document: string): string[] =>
  [...document.matchAll(/^```console\n([\s\S]*?)^```$/gm)].flatMap(([, session]) =>
    [...(session as string).matchAll(/^\$ (.+)$/gm)].map(([, command]) => command as string),
  );
const programOf = (document: string): string => /^```js\n([\s\S]*?)^```$/m.exec(document)?.[1] ?? "";

const ADDRESS = "http://127.0.0.1:8000";
/** The generation and the position that the documents show. */
const SHOWN = { generation: "gen_m1wy26W5RjBF6dbUe14Qgia8", position: "17", seconds: "0.5" };
const SHORT: Script = { text: "Water finds its level." };
/** Longer than its first reader reads. */
const LONG: Script = { tokens: 250, pace_ms: 20 };
const READING_S = "2";

const missing = ["curl", "timeout"].filter((tool) => spawnSync(tool, ["--version"]).status !== 0);
const suite = missing.length === 0 ? describe : describe.skip;

let gateway: TestGateway;
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "sluice-tour-"));
  symlinkSync(fileURLToPath(new URL("node_modules", ROOT)), join(folder, "node_modules"));
  gateway = await startGateway();
});
afterAll(async () => {
  await gateway?.close();
  rmSync(folder, { recursive: true });
});

async function run(command: string, ...args: readonly string[]): Promise<string> {
  const env = { ...process.env, API: gateway.url };
  return (await promisify(execFile)(command, args, { cwd: folder, env, timeout: 30_000 })).stdout;
}
const shell = (command: string): Promise<string> => run("sh", "-c", command);

function save(name: string, program: string): void {
  const moved = program.replaceAll(ADDRESS, gateway.url).replaceAll("ws://127.0.0.1:8000", gateway.wsUrl);
  expect(moved).not.toBe(program);
  writeFileSync(join(folder, name), moved);
}

test("the README's program prints the answer", async () => {
  gateway.emulator.script = () => SHORT;
  save("program.mjs", programOf(README));
  expect(await run(process.execPath, "program.mjs")).toBe(SHORT.text);
});

suite(`in a shell${missing.length === 0 ? "" : ` (skipped: no ${missing.join(", no ")})`}`, () => {
  test("the README's first command prints the answer", async () => {
    gateway.emulator.script = () => SHORT;
    const [first = ""] = commandsOf(README);
    expect(await shell(first.replace(ADDRESS, gateway.url))).toBe(SHORT.text);
  });

  test("the README's session is how the tour begins", () => {
    const [, ...session] = commandsOf(README);
    expect(session.length).toBeGreaterThan(0);
    expect(session).toEqual(commandsOf(TOUR).slice(0, session.length));
  });

  test("the tour loses nothing and doubles nothing", async () => {
    gateway.emulator.script = () => LONG;
    save("follow.mjs", programOf(TOUR));
    const [start = "", readOn = "", resume = "", follow = "", look = "", cancel = "", ...more] =
      commandsOf(TOUR);
    expect(more).toEqual([]);

    const { id } = JSON.parse(await shell(start)) as { id: string };
    const ofThis = (command: string): string => command.replaceAll(SHOWN.generation, id);
    const cut = ofThis(readOn).replace(`timeout ${SHOWN.seconds}`, `timeout ${READING_S}`);
    const position = Number(/^id: (\d+)\n/m.exec(await shell(cut))?.[1]);
    expect(position).toBeGreaterThan(0);
    const fromThere = (command: string): string =>
      ofThis(command).replace(new RegExp(`\\b${SHOWN.position}\\b`), String(position));

    const resumed = await shell(fromThere(resume));
    const whole = await (await fetch(`${gateway.url}/v1/generations/${id}/events`)).text();
    expect(resumed).toBe(whole.slice(whole.indexOf(`id: ${position + 1}\n`)));
    const [, ending] = /\nid: (\d+)\nevent: end\ndata: \{"status":"completed"/.exec(resumed) ?? [];

    const lines = (await shell(fromThere(follow).replace(/^node/, `"${process.execPath}"`)))
      .trim()
      .split("\n");
    const messages = lines.map((line) => JSON.parse(line) as { type: string; seq?: number });
    expect(messages[0]).toMatchObject({ type: "accepted", last_seq: Number(ending) });
    expect(messages.slice(1).map(({ seq }) => seq)).toEqual(
      Array.from({ length: Number(ending) - position }, (_, index) => position + 1 + index),
    );
    expect(messages.at(-1)).toMatchObject({ type: "end", status: "completed" });

    for (const command of [look, cancel])
      expect(JSON.parse(await shell(ofThis(command)))).toMatchObject({ id, status: "completed" });
  });
});
