/** What is drawn from the seed: arrival times and prompts. The same seed draws the same. */

/** Uniform numbers in [0, 1) from a seed: mulberry32, small and good enough for arrivals and words. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * When each request is due, in milliseconds from the start: a Poisson process, stretched so that the last is due after exactly
 * count / rate seconds and seeds differ in their gaps alone.
 * @param rate requests a second, above 0; Infinity makes all due at once
 */
export function arrivals(count: number, rate: number, seed: number): number[] {
  if (rate === Infinity) return new Array<number>(count).fill(0);
  const random = randomFrom(seed);
  let elapsed = 0;
  const drawn = Array.from({ length: count }, () => (elapsed -= Math.log(1 - random())));
  const scale = ((count / rate) * 1000) / elapsed;
  return drawn.map((at) => at * scale);
}

const WORDS = (
  "river stone window garden letter market winter summer bridge candle harbor mountain paper silver morning evening " +
  "forest animal picture village travel quiet bright heavy gentle narrow open broken simple ancient modern hidden " +
  "carry follow gather measure remember describe compare explain build answer question number reason method result"
).split(" ");

export const DEFAULT_PROMPT = "Tell a short story about a river that runs backwards.";

/**
 * So many words drawn at random, so that no two prompts share a beginning that a server could have kept.
 * @param index of the request; each has its own
 */
export function randomPrompt(words: number, seed: number, index: number): string {
  const random = randomFrom(Math.imul(seed + 1, 0x9e3779b1) + index);
  return Array.from({ length: words }, () => WORDS[Math.floor(random() * WORDS.length)]).join(" ");
}
