import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { blockEnds, type Emulator, type Script, startEmulator } from "../../src/emulator/index.ts";
import { piecesOf } from "../support/raw-post.ts";

const CORPUS = process.env["SLUICE_CORPUS"] ?? path.resolve(import.meta.dirname, "../../../shared/corpus");

describe.skipIf(!existsSync(CORPUS))("replay of the corpus", () => {
  let emulator: Emulator;
  beforeAll(async () => {
    emulator = await startEmulator({ corpus: CORPUS });
  });
  afterAll(() => emulator.close());
  beforeEach(() => emulator.reset());

  const recordings = [
    "chat/alibaba-tool-call-0477d936.sse",
    "chat/anthropic-compat-chatcompletionkeepalive-890eb588.sse",
    "chat/azure-openai-test-chat-streaming-3a260e9b.sse",
    "chat/deepseek-streamed-reasoning-content-686d6f3b.sse",
  ];
  const reads = ["whole", "event", "timed", 1, 7] as const;
  const cases = recordings.flatMap((replay) => reads.map((read) => [replay, read] as const));

  test.each(cases)("%s by %s is the same, byte for byte", async (replay, read) => {
    const bytes = readFileSync(path.join(CORPUS, replay));
    const pieces = await piecesOf(`${emulator.url}/chat/completions`, { emulator: { replay, read } });
    expect(Buffer.concat(pieces).equals(bytes)).toBe(true);
    if (typeof read === "number")
      expect(pieces.slice(0, -1).every((piece) => piece.length === read)).toBe(true);
    if (read === "whole") expect(emulator.stats.events_sent).toBe(blockEnds(bytes).length);
    if (read === "event") expect(pieces).toHaveLength(blockEnds(bytes).length);
  });

  test("an error comes with its status and useful headers", async () => {
    const replay = "errors/openai-429-lcel-openai-chain-batch-33ff9a97.json";
    const response = await fetch(`${emulator.url}/chat/completions`, {
      method: "POST",
      body: JSON.stringify({ stream: true, emulator: { replay } }),
    });
    expect(response.status).toBe(429);
    expect(response.headers.get("content-type")).toBe("application/json; charset=utf-8");
    expect(response.headers.get("retry-after")).toBe("20");
    expect(response.headers.get("x-ratelimit-limit-requests")).toBe("200");
    expect(Buffer.from(await response.arrayBuffer()).equals(readFileSync(path.join(CORPUS, replay)))).toBe(
      true,
    );
  });
});

describe("replay of a folder", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "sluice-emulator-"));
  const inside = path.join(folder, "corpus");
  let own: Emulator;
  beforeAll(async () => {
    mkdirSync(inside);
    writeFileSync(path.join(inside, "a.sse"), "data: 1\r\n\r\n: c\r\n\r\ndata: [DONE]\r\n\r\n");
    writeFileSync(path.join(folder, "secret.txt"), "secret");
    symlinkSync("../secret.txt", path.join(inside, "link.txt"));
    own = await startEmulator({ corpus: inside });
  });
  afterAll(async () => {
    await own.close();
    rmSync(folder, { recursive: true });
  });
  const replay = (script: Script) =>
    fetch(`${own.url}/chat/completions`, { method: "POST", body: JSON.stringify({ emulator: script }) });

  test("works without an index, and stops where it is cut", async () => {
    expect(await (await replay({ replay: "a.sse" })).text()).toContain("data: 1\r\n\r\n: c");
    expect(await (await replay({ replay: "a.sse", cut_at: 5, read: 2 })).text()).toBe("data:");
    const fault = { kind: "error_string", after_finish: true } as const;
    expect(await (await replay({ replay: "a.sse", fault })).text()).toMatch(
      /: c\r\n\r\ndata: {"error":"boom"}\n\n$/,
    );
  });

  test.each(["../secret.txt", "/etc/passwd", "link.txt", "none.sse", ".", "b\0.sse"])(
    "refuses %j",
    async (name) => {
      const response = await replay({ replay: name });
      expect([response.status, (await response.text()).includes("secret\n")]).toEqual([400, false]);
    },
  );
});
