/** Recorded answers of real providers as UI message streams, read by the AI SDK and held against the recordings' index. */
import type { UIMessage, UIMessageChunk } from "ai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bodyOf, CORPUS, hasCorpus, type Recording, recordings } from "../support/corpus.ts";
import { type EmulatorProcess, startEmulatorProcess } from "../support/emulator-process.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { assemble, judge } from "../support/oracle.ts";
import { forEach, replayOf } from "../support/replay.ts";
import { post } from "../support/requests.ts";
import { asked, messageOf, parsed, wordsOf } from "../support/ui-stream.ts";

const FILES = recordings("chat");
const AT_ONCE = 4;
const name = hasCorpus
  ? "the corpus as UI messages"
  : `the corpus as UI messages (skipped: there are no recordings at ${CORPUS})`;

interface Expected {
  readonly choices0_nonstring_content_chunks?: number;
  readonly reasoning?: Readonly<Record<string, string>>;
  readonly refusal?: Readonly<Record<string, string>>;
  readonly tool_calls?: readonly { readonly name: string; readonly args: string }[];
}

describe.skipIf(!hasCorpus)(name, () => {
  let emulator: EmulatorProcess;
  let gateway: TestGateway;
  let parts = 0;

  beforeAll(async () => {
    emulator = await startEmulatorProcess(CORPUS);
    gateway = await startGateway({ env: { OPENAI_BASE_URL: emulator.url } });
  });
  afterAll(async () => {
    await gateway?.close();
    await emulator?.stop();
    console.log(`UI messages: ${FILES.length} recordings, ${parts} parts, all of them of the SDK's schema`);
  });

  test("every recording is the message that it should be, and the same again", async () => {
    const problems: string[] = [];
    await forEach(FILES, AT_ONCE, async (file) => {
      const { request } = replayOf(file, { read: "event" });
      const body = { ...request, id: file.file, messages: [asked()] };
      const answer = await post(`${gateway.url}/api/chat`, body);
      const bytes = await answer.text();
      const verdict = judge(bodyOf(file), file.request.n ?? 1);
      if (verdict.payloads.length === 0 && verdict.status === "failed") {
        if (answer.status < 400) problems.push(`${file.file}: ${answer.status}, though it failed early`);
        return;
      }
      const replay = await fetch(
        `${gateway.url}/api/chat/${encodeURIComponent(file.file)}/stream?ended=replay`,
      );
      if ((await replay.text()) !== bytes) problems.push(`${file.file}: the replay differs`);
      const read = await parsed(bytes);
      parts += read.length;
      problems.push(...problemsOf(file, read, await messageOf(read), verdict));
    });
    expect(problems).toEqual([]);
    expect(parts).toBeGreaterThan(FILES.length);
  }, 300_000);
});

function problemsOf(
  file: Recording,
  read: readonly UIMessageChunk[],
  message: UIMessage | undefined,
  verdict: ReturnType<typeof judge>,
): string[] {
  const problems: string[] = [];
  const compare = (what: string, is: unknown, should: unknown): void => {
    if (JSON.stringify(is) !== JSON.stringify(should))
      problems.push(`${file.file}: ${what} is ${JSON.stringify(is)}, not ${JSON.stringify(should)}`);
  };
  const expected = file.expected as Expected;
  const { reasoning, tool_calls: calls } = expected;
  const refused = expected.refusal?.["0"] ?? "";
  compare("the text", wordsOf(message), (assemble(verdict.payloads).text["0"] ?? "") + refused);
  // The index looks for thinking in no content of parts.
  if (expected.choices0_nonstring_content_chunks === 0)
    compare("the reasoning", wordsOf(message, "reasoning"), reasoning?.["0"] ?? "");
  const ending = read.at(-1)?.type;
  compare("the ending", ending, verdict.status === "failed" ? "error" : "finish");
  // The index has the calls of all choices, and none of the legacy form.
  const isTold = !file.features.includes("n_gt_1") && !file.features.includes("function_call_legacy");
  if (calls !== undefined && isTold && verdict.status === "completed") {
    const made = read.filter((part) => part.type === "tool-input-available");
    compare(
      "the calls",
      made.map(({ toolName, input }) => [toolName, input]),
      calls.map(({ name, args }) => [name, args === "" ? {} : JSON.parse(args)]),
    );
  }
  return problems;
}
