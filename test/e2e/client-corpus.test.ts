/**
 * Every recorded answer, by every client, directly from the upstream and through Sluice: the same chunks, text, usage and
 * class of error. Where the two may differ is the contract's to say, and what differs is printed.
 */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ReadMode, Script } from "../../src/emulator/index.ts";
import { bodyOf, CORPUS, hasCorpus, type Recording, recordings } from "../support/corpus.ts";
import {
  type Ask,
  aiSdk,
  type CorpusClient,
  eventSourceParser,
  langChain,
  openAiNode,
  type Reading,
} from "../support/corpus-clients.ts";
import { CorpusPython } from "../support/corpus-python.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { assemble, isObject, jsonOf, judge } from "../support/oracle.ts";
import { python } from "../support/python.ts";
import { forEach } from "../support/replay.ts";

const AT_ONCE = 8;
const KINDS = ["chat", "completions", "errors"] as const;
const ALL = KINDS.flatMap(recordings);

interface Sequence {
  readonly first: string;
  readonly then: string;
}
const SEQUENCES = hasCorpus
  ? (JSON.parse(readFileSync(`${CORPUS}/retry-sequences.json`, "utf8")) as readonly Sequence[])
  : [];

interface Both {
  readonly straight: Reading;
  readonly relayed: Reading;
}

let gateway: TestGateway;
/** Scripts of the requests that name a `user`, one for each of its tries. The emulator's own queue knows no users. */
const queues = new Map<string, Script[]>();

beforeAll(async () => {
  gateway = await startGateway({ emulator: { corpus: CORPUS } });
  gateway.emulator.script = ({ user }) => queues.get(String(user))?.shift();
});
afterAll(() => gateway?.close());

async function both(client: CorpusClient, asks: readonly [Ask, Ask]): Promise<Both> {
  const [straight, relayed] = await Promise.all([
    client.read(gateway.emulator.url, asks[0]),
    client.read(`${gateway.url}/v1`, asks[1]),
  ]);
  return { straight, relayed };
}

/** An event a write, as models send; long ones at once, for the sake of time. */
const readModeOf = (events = 0): ReadMode => (events > 200 ? "whole" : "event");

function askFor({ kind, file, request, events }: Recording): Ask {
  const n = typeof request.n === "number" ? { n: request.n } : {};
  const more = { ...n, emulator: { replay: file, read: readModeOf(events) } };
  return { what: kind === "completions" ? kind : "chat", more, maxRetries: 0 };
}

const isOperators = ({ status }: Recording): boolean => status === 401 || status === 403;

/** A refusal has its status and its words, but for what is the operator's or the upstream's own fault: that is a 502. */
function checkRefusal(recording: Recording, { straight, relayed }: Both, kindOf502: string): void {
  expect([straight.text, relayed.text, relayed.chunks.length], recording.file).toEqual([
    "",
    "",
    straight.chunks.length,
  ]);
  expect(straight.error?.status, recording.file).toBe(recording.status);
  if (isOperators(recording) || recording.status >= 500) {
    expect(relayed.error, recording.file).toMatchObject({ kind: kindOf502, status: 502 });
    return;
  }
  expect(relayed.error, recording.file).toMatchObject({
    kind: straight.error?.kind,
    status: recording.status,
  });
  const body = jsonOf(bodyOf(recording));
  if (isObject(body) && "error" in body)
    expect(relayed.error?.said, recording.file).toEqual(straight.error?.said);
  // What is no error object directly is one through Sluice, so that a client finds a message.
  else expect(relayed.error?.said, recording.file).toMatchObject({ message: expect.stringMatching(/\S/) });
}

/** What the two make of a stream, in a few words, where it is not the same. */
function checkStream(recording: Recording, { straight, relayed }: Both): string | undefined {
  const { failure, payloads } = judge(bodyOf(recording), recording.request.n ?? 1);
  if (failure?.said === undefined && failure !== undefined) {
    // The upstream stopped without an ending. Directly that is no error, or one that the client had to guess.
    expect(failure.error["code"], recording.file).toBe("upstream_disconnected");
    expect(relayed.error?.said, recording.file).toMatchObject({ code: "upstream_disconnected" });
    expect([relayed.text, relayed.usage], recording.file).toEqual([straight.text, straight.usage]);
    expect(relayed.text, recording.file).toBe(assemble(payloads).text["0"]);
    return `${recording.file} (directly ${straight.error?.kind ?? "a clean end"})`;
  }
  expect(relayed, recording.file).toEqual(straight);
  if (failure !== undefined)
    expect(relayed.error?.said, recording.file).toMatchObject({ message: failure.error["message"] });
  return undefined;
}

/** The class of error that the client makes of a 502. */
async function kindOf502(client: CorpusClient): Promise<string | undefined> {
  const user = `${client.name} 502`;
  queues.set(user, [{ fault: { kind: "status", status: 502 } }]);
  const { error } = await client.read(gateway.emulator.url, { what: "chat", more: { user }, maxRetries: 0 });
  expect(error?.status).toBe(502);
  return error?.kind;
}

interface Findings {
  /** The streams of which the two do not make the same. */
  readonly differing: readonly string[];
  /** Good streams that the client cannot read, whoever sends them. */
  readonly unread: readonly string[];
}

async function checkAll(client: CorpusClient): Promise<Findings> {
  const differing: string[] = [];
  const unread: string[] = [];
  const kind = await kindOf502(client);
  await forEach(ALL, AT_ONCE, async (recording) => {
    const ask = askFor(recording);
    const read = await both(client, [ask, ask]);
    if (recording.status >= 400) return checkRefusal(recording, read, kind ?? "");
    expect(read.relayed.chunks.length, recording.file).toBeGreaterThan(0);
    const difference = checkStream(recording, read);
    if (difference !== undefined) differing.push(difference);
    else if (read.relayed.error !== undefined && !recording.features.includes("error_in_stream"))
      unread.push(`${recording.file} ${read.relayed.error.kind}`);
  });
  return { differing, unread };
}

/** A recorded refusal as it came, but for its `retry-after`: 44 s is longer than a test may wait, and none stays none. */
function refusalScript(recording: Recording): { script: Script; retryAfter: string | undefined } {
  const { "retry-after": recorded, ...others } = recording.response_headers;
  const retryAfter = recorded === undefined ? undefined : "0";
  const headers = {
    "content-type": others["content-type"] ?? "application/json",
    ...(retryAfter === undefined ? {} : { "retry-after": retryAfter }),
  };
  const body = bodyOf(recording).toString();
  return { script: { fault: { kind: "status", status: recording.status, headers, body } }, retryAfter };
}

async function checkSequence(
  client: CorpusClient,
  { first, then }: Sequence,
  name: string,
): Promise<boolean> {
  const refused = ALL.find(({ file }) => file === first);
  const answered = ALL.find(({ file }) => file === then);
  if (refused === undefined || answered === undefined)
    throw new Error(`not in the corpus: ${first}, ${then}`);
  const { script, retryAfter } = refusalScript(refused);
  const users = [`${name} directly`, `${name} through`] as const;
  for (const user of users) queues.set(user, [script, { replay: then, read: "event" }]);
  const ask = (user: string): Ask => ({ what: "chat", more: { user }, maxRetries: 2 });
  const read = await both(client, [ask(users[0]), ask(users[1])]);
  const isRetried = client.retries?.(retryAfter) === true;
  expect(users.map((user) => queues.get(user)?.length)).toEqual(isRetried ? [0, 0] : [1, 1]);
  if (isRetried) {
    expect(read.relayed.error, name).toBeUndefined();
    expect(checkStream(answered, read)).toBeUndefined();
    expect(read.relayed.text).toBe((await client.read(gateway.emulator.url, askFor(answered))).text);
  } else checkRefusal(refused, read, "");
  return isRetried;
}

async function checkSequences(client: CorpusClient): Promise<string> {
  if (client.retries === undefined) return "no retries of its own";
  const indexes = SEQUENCES.map((sequence, index) => ({ sequence, index }));
  let retried = 0;
  await forEach(indexes, AT_ONCE, async ({ sequence, index }) => {
    if (await checkSequence(client, sequence, `${client.name} ${index}`)) retried += 1;
  });
  const refused = SEQUENCES.length - retried;
  return `${SEQUENCES.length} retry sequences${refused === 0 ? "" : ` (${refused} of them it does not retry)`}`;
}

const counts = KINDS.map((kind) => `${recordings(kind).length} ${kind}`).join(", ");
const title = hasCorpus ? "the corpus" : `the corpus (skipped: there are no recordings at ${CORPUS})`;

async function checkClient(client: CorpusClient): Promise<void> {
  const { differing, unread } = await checkAll(client);
  const sequences = await checkSequences(client);
  const but = differing.length === 0 ? "" : `, but for an error of Sluice's own in ${differing.join(", ")}`;
  const both =
    unread.length === 0 ? "" : `; it reads neither directly nor through: ${unread.toSorted().join(", ")}`;
  console.info(`client corpus: ${client.name} ${counts}, ${sequences}: equal${but}${both}`);
  // For every client, and none but for this: a stream that stopped without an ending.
  const cut = ALL.filter(({ features }) => features.includes("non_sse_lines"));
  expect(differing.map((text) => text.split(" ")[0])).toEqual(cut.map(({ file }) => file));
}

async function checkPython(path: string): Promise<void> {
  const client = new CorpusPython(path);
  try {
    await checkClient(client);
  } finally {
    await client.close();
  }
}

describe.skipIf(!hasCorpus)(title, () => {
  /** Another process, which reads while the clients in this one do. */
  let pythonChecked: Promise<void> | undefined;
  beforeAll(() => {
    if (python === undefined) return;
    pythonChecked = checkPython(python);
    // It is looked at by its own test.
    pythonChecked.catch(() => {});
  });

  test("is whole", () => {
    expect([counts, SEQUENCES.length]).toEqual(["168 chat, 13 completions, 58 errors", 8]);
  });

  test.each([openAiNode, aiSdk, langChain, eventSourceParser])("$name", checkClient, 240_000);

  const reason =
    python === undefined ? " (skipped: no Python with the openai package; SLUICE_PYTHON names one)" : "";
  test.skipIf(python === undefined)(`openai-python${reason}`, () => pythonChecked, 240_000);
});
