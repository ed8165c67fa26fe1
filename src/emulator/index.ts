/** An OpenAI-compatible upstream for demos, tests and benches. */
export { runEmulator } from "./command.ts";
export { DEMO_HINT, demoText } from "./demo.ts";
export { type EmulatorStats, fingerprint, type RequestRecord, type RequestState } from "./ledger.ts";
export type { RequestBody } from "./plan.ts";
export { blockEnds } from "./replay.ts";
export {
  EARLY_FAULTS,
  type FaultKind,
  LATE_FAULTS,
  parseScript,
  type ReadMode,
  type Script,
  ScriptError,
  type ScriptFault,
} from "./script.ts";
export type { ScriptByRequest } from "./scripts.ts";
export { type Emulator, type EmulatorOptions, startEmulator } from "./server.ts";
