import { createHash } from "node:crypto";
import type { RequestBody } from "./plan.ts";

const DEFAULT_DIMENSIONS = 8;
const MOST_DIMENSIONS = 4_096;

/** The answer to an embeddings request: the same input always has the same vector, of length 1. */
export function embeddings(body: RequestBody, model: string): object {
  const inputs = inputsOf(body["input"]);
  const dimensions = dimensionsOf(body["dimensions"]);
  const base64 = body["encoding_format"] === "base64";
  const data = inputs.map((input, index) => {
    const vector = vectorOf(JSON.stringify(input), dimensions);
    const embedding = base64 ? Buffer.from(vector.buffer).toString("base64") : Array.from(vector);
    return { object: "embedding", index, embedding };
  });
  const tokens = inputs.reduce((sum: number, input) => sum + Math.ceil(JSON.stringify(input).length / 4), 0);
  return { object: "list", data, model, usage: { prompt_tokens: tokens, total_tokens: tokens } };
}

/** One input or several: an array of numbers is one input that is already tokens. */
function inputsOf(input: unknown): unknown[] {
  if (!Array.isArray(input)) return [input ?? ""];
  return typeof input[0] === "number" ? [input] : input;
}

function dimensionsOf(asked: unknown): number {
  if (typeof asked !== "number" || !Number.isInteger(asked) || asked < 1) return DEFAULT_DIMENSIONS;
  return Math.min(asked, MOST_DIMENSIONS);
}

function vectorOf(input: string, dimensions: number): Float32Array {
  const bytes = createHash("shake256", { outputLength: dimensions }).update(input).digest();
  const raw = Float32Array.from(bytes, (byte) => byte - 127.5);
  const length = Math.hypot(...raw);
  return raw.map((value) => value / length);
}
