/** Recorded refusals of real providers, as the upstream's answer to a streamed chat request (PROTOCOL.md, section 6). */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bodyOf, CORPUS, hasCorpus, type Recording, recordings } from "../support/corpus.ts";
import type { StockAnswer } from "../support/deliveries.ts";
import { checkError } from "../support/delivery-checks.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { isObject, type Json, jsonOf } from "../support/oracle.ts";
import { Replayer, replayOf } from "../support/replay.ts";

const REFUSALS = recordings("errors");
const KEPT_HEADERS = /^(retry-after(-ms)?|x-ratelimit-.+|x-should-retry)$/;
const OUR_OWN = { type: "upstream_error", param: null, code: "upstream_error" };

const name = hasCorpus ? "refusals" : `refusals (skipped: there are no recordings at ${CORPUS})`;

describe.skipIf(!hasCorpus)(name, () => {
  let gateway: TestGateway;
  let replayer: Replayer;
  beforeAll(async () => {
    gateway = await startGateway({ emulator: { corpus: CORPUS } });
    replayer = await Replayer.over(gateway);
  });
  afterAll(async () => {
    replayer.close();
    await gateway.close();
  });

  test("there are 58 of them", () => expect(REFUSALS).toHaveLength(58));

  test.each(REFUSALS.map((refusal) => [refusal.file, refusal] as const))("%s", async (_file, refusal) => {
    const { stock, events, websocket } = await replayer.apart(replayOf(refusal, {}));
    checkAnswer(stock, refusal);
    for (const { seqs, end } of [events, websocket]) {
      expect(seqs).toEqual([]);
      expect(end).toMatchObject({ seq: 1, status: "failed" });
      checkError(end["error"], errorOf(refusal));
      if (isOperators(refusal)) expectSilence(JSON.stringify(end), refusal);
    }
  });
});

/** Bad credentials of the gateway's own: nothing that the client could mend, or should read. */
const isOperators = ({ status }: Recording): boolean => status === 401 || status === 403;
const isRelayed = (refusal: Recording): boolean =>
  refusal.status >= 400 && refusal.status < 500 && !isOperators(refusal);

/** The upstream's body, where it is a JSON object with an error. */
function ownBody(refusal: Recording): Json | undefined {
  const value = jsonOf(bodyOf(refusal));
  return isObject(value) && "error" in value ? value : undefined;
}

/** What the ending's error must hold. */
function errorOf(refusal: Recording): Json {
  if (isOperators(refusal)) return OUR_OWN;
  const error = ownBody(refusal)?.["error"];
  if (!isObject(error)) return typeof error === "string" ? { ...OUR_OWN, message: error } : {};
  // A 5xx is ours to word; its own message may be in it.
  if (!isRelayed(refusal)) return OUR_OWN;
  const { message, type, param, code } = error;
  return {
    message,
    type: type ?? "upstream_error",
    param: param ?? null,
    code: String(code ?? "upstream_error"),
  };
}

function checkAnswer(stock: StockAnswer, refusal: Recording): void {
  expect(stock.headers.get("content-type")).toMatch(/^application\/json/);
  expect(stock.headers.get("x-generation-id")).toMatch(/^gen_/);
  if (isRelayed(refusal)) checkRelayed(stock, refusal);
  else {
    expect(stock.status).toBe(502);
    checkError((jsonOf(stock.body) as Json)["error"], OUR_OWN);
    if (isOperators(refusal)) expectSilence(stock.body.toString(), refusal);
  }
}

function checkRelayed(stock: StockAnswer, refusal: Recording): void {
  expect(stock.status).toBe(refusal.status);
  for (const [header, value] of Object.entries(refusal.response_headers)) {
    if (KEPT_HEADERS.test(header)) expect(stock.headers.get(header), header).toBe(value);
  }
  // The gateway has no word of its own on whether to retry.
  const said = refusal.response_headers["x-should-retry"] ?? null;
  expect(stock.headers.get("x-should-retry")).toBe(said);
  if (ownBody(refusal) !== undefined) expect(stock.body.equals(bodyOf(refusal))).toBe(true);
  else checkWrapped((jsonOf(stock.body) as Json)["error"], refusal);
}

/** An object with a message stands in `error` with what it lacks added; any other text stands in the message. */
function checkWrapped(error: unknown, refusal: Recording): void {
  checkError(error, { param: null });
  const { message } = error as { message: string };
  const text = bodyOf(refusal).toString().trim();
  const own = text.startsWith("{") ? (JSON.parse(text) as { message?: unknown }).message : undefined;
  if (typeof own === "string") expect(error).toMatchObject({ message: own });
  else expect(message).toContain(text.slice(0, 60));
}

/** Not a sentence of the upstream's. */
function expectSilence(text: string, refusal: Recording): void {
  const body = bodyOf(refusal);
  const sentences = stringsIn(jsonOf(body) ?? body.toString().trim()).filter((words) => words.includes(" "));
  expect(sentences.length + (refusal.status === 403 ? 1 : 0)).toBeGreaterThan(0);
  for (const sentence of sentences) expect(text).not.toContain(sentence);
}

function stringsIn(value: unknown): string[] {
  if (typeof value === "string") return [value];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(stringsIn) : [];
}
