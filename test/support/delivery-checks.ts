/** Holds what a client got against what the oracle says it must get. */
import { expect } from "vitest";
import type { NumberedAnswer, StockAnswer } from "./deliveries.ts";
import { type Json, jsonOf, type Verdict } from "./oracle.ts";

/** The payloads are the same bytes, in the same order. */
export function expectSame(got: readonly Buffer[], wanted: readonly Buffer[]): void {
  const at = wanted.findIndex((payload, index) => !(got[index]?.equals(payload) ?? false));
  if (at >= 0) throw new Error(`event ${at + 1} is ${got[at]} and should be ${wanted[at]}`);
  expect(got.length).toBe(wanted.length);
}

/** Events numbered from 1 without gaps, and one ending, which says what the oracle says. */
export function checkNumbered({ seqs, payloads, end }: NumberedAnswer, verdict: Verdict): void {
  expectSame(payloads, verdict.payloads);
  expect(seqs).toEqual(Array.from(verdict.payloads, (_, index) => index + 1));
  expect(end["seq"]).toBe(verdict.payloads.length + 1);
  expect(end["status"]).toBe(verdict.status);
  expect(end["usage"]).toEqual(verdict.usage);
  expect(end["timing"]).toMatchObject({
    queue_ms: expect.any(Number),
    duration_ms: expect.any(Number),
  });
  if (verdict.failure === undefined) expect(end).not.toHaveProperty("error");
  else checkError(end["error"], verdict.failure.error);
}

/** All four members, and of them what `wanted` says. */
export function checkError(error: unknown, wanted: Json): void {
  const param = (error as Json)["param"];
  expect(error).toMatchObject({
    message: expect.any(String),
    type: expect.any(String),
    code: expect.any(String),
    ...wanted,
  });
  expect(param === null || typeof param === "string").toBe(true);
}

/** `[DONE]` exactly when it ended well; else one error, in the stream or, before any content, as an HTTP status. */
export function checkStock(answer: StockAnswer, verdict: Verdict): void {
  const { failure } = verdict;
  const isEarly = failure !== undefined && verdict.payloads.length === 0;
  expect(answer.headers.get("x-generation-id")).toMatch(/^gen_/);
  expect(answer.headers.get("x-request-id")).toBeTruthy();
  expect(answer.status).toBe(isEarly ? 502 : 200);
  expect(answer.doneCount).toBe(failure === undefined ? 1 : 0);
  expectSame(answer.payloads, verdict.payloads);
  if (!isEarly) checkStreamHeaders(answer.headers);
  const told = isEarly ? answer.body : answer.error;
  if (failure === undefined) expect(told).toBeUndefined();
  else if (failure.said !== undefined) expect(told?.toString()).toBe(failure.said.toString());
  else checkError((jsonOf(told ?? Buffer.alloc(0)) as Json)["error"], failure.error);
}

function checkStreamHeaders(headers: Headers): void {
  expect(headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
  expect(headers.get("cache-control")).toBe("no-cache, no-transform");
  expect(headers.get("x-accel-buffering")).toBe("no");
}
