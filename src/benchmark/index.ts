/** A load generator for OpenAI-compatible servers: `sluice bench`. */
export { runBenchmark } from "./command.ts";
