/** Flags, environment and config file -> one validated, frozen `Config`, or one line that says what is wrong. */
import { readFileSync } from "node:fs";
import { type Settled, settle } from "./config/combine.ts";
import { readFlags } from "./config/flags.ts";
import { helpText } from "./config/help.ts";
import { gather } from "./config/sources.ts";

export { helpText, settingsTable } from "./config/help.ts";
export { readSettings, type Settings, type UpstreamSettings } from "./config/object.ts";
export {
  type ApiKey,
  type AuthMode,
  type Config,
  ConfigError,
  type LogLevel,
  type UpstreamConfig,
} from "./config/types.ts";

export type Command =
  | ({ readonly kind: "serve" } & Settled)
  | ({ readonly kind: "check" } & Settled)
  | { readonly kind: "help"; readonly text: string }
  | { readonly kind: "version" };

/**
 * What the command line asks for. `readFile` reads the config file as UTF-8.
 *
 * @throws {ConfigError} and nothing else.
 */
export function readCommand(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  readFile: (path: string) => string = (path) => readFileSync(path, "utf8"),
): Command {
  const { action, given } = readFlags(args);
  if (action === "help") return { kind: "help", text: helpText() };
  if (action === "version") return { kind: "version" };
  return { kind: action, ...settle(gather(given, env, readFile)) };
}
