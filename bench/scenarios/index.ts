import type { Bench } from "../rounds.ts";
import type { Section } from "../section.ts";
import { churn, whole } from "./churn.ts";
import { memory } from "./memory.ts";
import { observer } from "./observer.ts";
import { queue, slow } from "./pressure.ts";
import { fanOut, resume } from "./readers.ts";
import { scale } from "./scale.ts";
import { steady } from "./steady.ts";

/** In the order in which they run. */
export const SCENARIOS: ReadonlyMap<string, (bench: Bench) => Promise<Section>> = new Map([
  ["steady", steady],
  ["scale", scale],
  ["memory", memory],
  ["churn", churn],
  ["whole", whole],
  ["fan-out", fanOut],
  ["resume", resume],
  ["slow", slow],
  ["queue", queue],
  ["observer", observer],
]);
