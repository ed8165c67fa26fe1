/** The config file: a strict JSON object. Its contents are never quoted in a complaint. */
import { z } from "zod";
import type { Given } from "./kinds.ts";
import { ROWS, type SettingName } from "./settings.ts";
import { ConfigError } from "./types.ts";
import { UPSTREAM_MEMBER, type UpstreamMember } from "./upstreams.ts";

export interface ConfigFile {
  readonly given: ReadonlyMap<SettingName, Given>;
  readonly upstreams?: readonly UpstreamMember[];
  /** How a member is named to the user. */
  readonly where: (member: string) => string;
}

export const MEMBERS: Readonly<Record<string, z.ZodType>> = Object.fromEntries(
  ROWS.filter(([, setting]) => setting.outsideFile !== true).map(([name, setting]) => [
    name,
    setting.member.exactOptional(),
  ]),
);
const UPSTREAMS = z.array(UPSTREAM_MEMBER).min(1).optional();
const FILE: z.ZodType<Record<string, unknown>> = z.strictObject({
  ...MEMBERS,
  upstreams: z.unknown().optional(),
});

export const NO_FILE: ConfigFile = { given: new Map(), where: (member) => member };

interface Place {
  readonly path: string;
  /** What named the file: a flag or the variable. */
  readonly setting: string;
}

export function readConfigFile(place: Place, readFile: (path: string) => string): ConfigFile {
  const json = parse(load(place, readFile), place);
  const { upstreams: listed, ...members } = check(FILE, json, [], place);
  const upstreams = check(UPSTREAMS, listed, ["upstreams"], place);
  const given = new Map(
    ROWS.flatMap(([name]) => (Object.hasOwn(members, name) ? [[name, asGiven(members[name])]] : [])),
  );
  const where = (member: string): string => `${member} in ${place.path}`;
  return { given, where, ...(upstreams === undefined ? {} : { upstreams }) };
}

function load({ path, setting }: Place, readFile: (path: string) => string): string {
  try {
    return readFile(path);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? ` (${String(error.code)})` : "";
    throw new ConfigError(setting, `cannot read ${path}${code}`);
  }
}

function parse(text: string, { path, setting }: Place): unknown {
  try {
    return JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    // The parser's message quotes the text, which may be a key: keep the place alone.
    const found = /line \d+ column \d+/.exec(String(error))?.[0];
    throw new ConfigError(setting, `${path} is not JSON${found === undefined ? "" : ` (${found})`}`);
  }
}

/** `base` is where in the file the value stands. */
function check<T>(shape: z.ZodType<T>, value: unknown, base: readonly string[], place: Place): T {
  const result = shape.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const at = dotted([...base, ...(issue?.path ?? [])]);
  const problem = issue === undefined ? "is not valid" : describe(issue);
  throw new ConfigError(at === "" ? place.setting : `${at} in ${place.path}`, problem);
}

export function describe(issue: z.core.$ZodIssue): string {
  if (issue.code !== "unrecognized_keys") return issue.message;
  const names = issue.keys.map((key) => JSON.stringify(key)).join(", ");
  return `unknown ${issue.keys.length === 1 ? "member" : "members"} ${names}`;
}

/** `upstreams[0].name` */
export function dotted(path: readonly PropertyKey[]): string {
  return path
    .map((step) => (typeof step === "number" ? `[${step}]` : `.${String(step)}`))
    .join("")
    .replace(/^\./, "");
}

export function asGiven(member: unknown): Given {
  return Array.isArray(member) ? member.map(String) : String(member);
}
