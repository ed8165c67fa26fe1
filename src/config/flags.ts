/** The command line. */
import { parseArgs } from "node:util";
import { nearest } from "./nearest.ts";
import { flagOf, kebab, ROWS, type Setting, type SettingName } from "./settings.ts";
import { ConfigError } from "./types.ts";

export type Action = "serve" | "check" | "help" | "version";

export interface CommandLine {
  readonly action: Action;
  readonly given: ReadonlyMap<SettingName, string>;
}

const ACTIONS: ReadonlyMap<string, Action> = new Map([
  ["help", "help"],
  ["version", "version"],
  ["check-config", "check"],
]);

const BY_FLAG = new Map(ROWS.map((row) => [flagOf(row[1]), row]));

/** What an unknown flag may have been meant for, by the flag and by the variable's name. */
const GUESSES = new Map([
  ...[...ACTIONS.keys()].map((name) => [name, name] as const),
  ...ROWS.filter(([, setting]) => setting.secret !== true).flatMap(([, setting]) => [
    [flagOf(setting), flagOf(setting)] as const,
    [kebab(setting.env), flagOf(setting)] as const,
  ]),
]);

interface Option {
  readonly name: string;
  readonly rawName: string;
  readonly value?: string | undefined;
  readonly inlineValue?: boolean | undefined;
}

/** The last one counts where a flag is repeated, as a wrapper script expects. */
export function readFlags(args: readonly string[]): CommandLine {
  const tokens = tokenize(args);
  const options = tokens.flatMap((token) => (token.kind === "option" ? [token] : []));
  const asked = options.find(({ name }) => name === "help" || name === "version");
  // Whoever asks for help beside a mistake gets the help.
  if (asked !== undefined) return { action: ACTIONS.get(asked.name) ?? "help", given: new Map() };
  let action: Action = "serve";
  const given = new Map<SettingName, string>();
  for (const token of tokens) {
    if (token.kind === "positional") throw new ConfigError(`argument ${token.index + 1}`, NO_ARGUMENT);
    if (token.kind !== "option") continue;
    const row = BY_FLAG.get(token.name);
    if (row !== undefined) given.set(row[0], flagValue(token, row[1]));
    else action = actionOf(token);
  }
  return { action, given };
}

// The argument itself is not shown: it may be a key that was meant for a flag.
const NO_ARGUMENT = "sluice takes flags only; see sluice --help";

function tokenize(args: readonly string[]) {
  const settings = ROWS.map(([, setting]) => {
    const type = setting.argument === "" ? "boolean" : "string";
    return [flagOf(setting), { type }] as const;
  });
  const actions = [...ACTIONS.keys()].map((name) => {
    const short = name === "check-config" ? {} : { short: name.charAt(0) };
    return [name, { type: "boolean", ...short }] as const;
  });
  // Not strict: the complaints are ours, and so is the moment for them.
  return parseArgs({
    args: [...args],
    options: Object.fromEntries([...settings, ...actions]),
    strict: false,
    allowPositionals: true,
    tokens: true,
  }).tokens;
}

function flagValue(token: Option, setting: Setting<unknown>): string {
  const { rawName, inlineValue } = token;
  if (setting.secret === true) {
    const problem = `secrets do not belong on a command line, where others can read them; set ${setting.env}`;
    throw new ConfigError(rawName, problem);
  }
  const value = token.value?.trim();
  if (value === undefined && setting.argument === "") return "true";
  if (value === undefined || value === "") throw new ConfigError(rawName, "needs a value");
  if (inlineValue !== true && value.startsWith("--")) {
    throw new ConfigError(rawName, `needs a value; one that begins with -- is written ${rawName}=VALUE`);
  }
  return value;
}

function actionOf(token: Option): Action {
  const action = ACTIONS.get(token.name);
  if (action === undefined) throw new ConfigError(token.rawName, unknownFlag(token.name));
  if (token.value !== undefined) throw new ConfigError(token.rawName, "takes no value");
  return action;
}

function unknownFlag(name: string): string {
  const guess = nearest(name, GUESSES.keys());
  const hint = guess === undefined ? "see sluice --help" : `did you mean --${GUESSES.get(guess)}?`;
  return `unknown flag; ${hint}`;
}
