/** Flag, then environment, then config file, then default: where each setting's value comes from, and under which name. */
import { type ConfigFile, NO_FILE, readConfigFile } from "./file.ts";
import type { Given } from "./kinds.ts";
import { nearest } from "./nearest.ts";
import { flagOf, ROWS, SETTINGS, type SettingName, type Values } from "./settings.ts";
import { ConfigError } from "./types.ts";

export interface Sources {
  readonly flags: ReadonlyMap<SettingName, string>;
  readonly env: NodeJS.ProcessEnv;
  readonly file: ConfigFile;
}

interface Found {
  readonly label: string;
  readonly given: Given;
}

export function gather(
  flags: ReadonlyMap<SettingName, string>,
  env: NodeJS.ProcessEnv,
  readFile: (path: string) => string,
): Sources {
  const named = find({ flags, env, file: NO_FILE }, "config");
  if (named === undefined) return { flags, env, file: NO_FILE };
  const place = { path: String(named.given), setting: named.label };
  return { flags, env, file: readConfigFile(place, readFile) };
}

export function readValues(sources: Sources): Values {
  const values: Partial<Record<SettingName, unknown>> = {};
  for (const [name, setting] of ROWS) {
    const found = find(sources, name);
    const value =
      found === undefined
        ? setting.fallback
        : setting.read(found.given, (problem) => new ConfigError(found.label, problem));
    if (value !== undefined) values[name] = value;
  }
  // The table's own types say what each row reads; a loop over its rows cannot carry them.
  return values as Values;
}

/** The setting's name as the user wrote it; the variable's name where nothing was written. */
export function labelOf(sources: Sources, name: SettingName): string {
  return find(sources, name)?.label ?? SETTINGS[name].env;
}

function find({ flags, env, file }: Sources, name: SettingName): Found | undefined {
  const setting = SETTINGS[name];
  const flag = flags.get(name);
  if (flag !== undefined) return { label: `--${flagOf(setting)}`, given: flag };
  const variable = env[setting.env]?.trim();
  if (variable !== undefined && variable !== "") return { label: setting.env, given: variable };
  const member = file.given.get(name);
  return member === undefined ? undefined : { label: file.where(name), given: member };
}

/** Variables that look like ours and are none: a slip of the finger would otherwise go unnoticed. */
export function strayVariables({ env, file }: Sources): readonly string[] {
  const known = ROWS.map(([, setting]) => setting.env);
  const used = new Set([...known, ...(file.upstreams ?? []).map(({ keyVariable }) => keyVariable)]);
  return Object.keys(env)
    .filter(
      (name) =>
        name.startsWith("SLUICE_") && env[name] !== "" && !used.has(name) && !isServiceLink(name, env),
    )
    .map((name) => {
      const meant = nearest(name, known) ?? nearest(name.slice("SLUICE_".length), known);
      return `${name} is not a setting${meant === undefined ? "" : `; did you mean ${meant}?`}`;
    });
}

/** Kubernetes describes a service called "sluice" to every container beside it, in variables of these names. */
function isServiceLink(name: string, env: NodeJS.ProcessEnv): boolean {
  if (/^SLUICE_(SERVICE_(HOST|PORT)|PORT_\d+_)/.test(name)) return true;
  return name === "SLUICE_PORT" && /^(tcp|udp|sctp):/.test(env[name] ?? "");
}
