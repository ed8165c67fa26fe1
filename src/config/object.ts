/** The settings of a gateway inside another program: an object in the form of the config file, and no environment. */
import { z } from "zod";
import { type Apart, settleApart } from "./combine.ts";
import { asGiven, type ConfigFile, describe, dotted, MEMBERS } from "./file.ts";
import { NAME, NAME_RULE } from "./keys.ts";
import type { SettingName } from "./settings.ts";
import { type ApiKey, type Config, ConfigError, type UpstreamConfig } from "./types.ts";
import { UPSTREAM_MEMBER, type UpstreamMember } from "./upstreams.ts";

type Plain = Omit<Config, "upstreams" | "apiKeys">;

/** The settings by their names in camelCase; what is not given, or `undefined`, has its default. */
export interface Settings extends Readonly<{ [N in keyof Plain]?: Plain[N] | undefined }> {
  /** A base URL (`http://gpu-1:8000/v1`), or `openai`, `ollama`, `llama.cpp`, `lmstudio`, `vllm`, `demo`. Without it, the demo. */
  readonly upstream?: string | undefined;
  /** The key for `upstream`; alone, it means OpenAI. */
  readonly upstreamKey?: string | undefined;
  /** Several, in order of preference, in the place of `upstream`. */
  readonly upstreams?: readonly UpstreamSettings[] | undefined;
  /** The keys that clients must show: a key, `name:key`, or both apart. */
  readonly apiKeys?: readonly (string | ApiKey)[] | undefined;
}

export interface UpstreamSettings extends Partial<Omit<UpstreamConfig, "name" | "baseUrl" | "demo">> {
  readonly name: string;
  readonly baseUrl: string;
  /** In the place of `apiKey`: the environment variable that holds it. */
  readonly keyVariable?: string;
}

/** Members that are called otherwise than their rows in the table. */
const ROW_OF: Readonly<Record<string, SettingName>> = {
  upstream: "openaiBaseUrl",
  upstreamKey: "openaiApiKey",
};
const MEMBER_OF = new Map(Object.entries(ROW_OF).map(([member, row]) => [row as string, member]));

const KEY = z.union([
  z.string(),
  z
    .strictObject({ name: z.string().regex(NAME, { error: NAME_RULE }), key: z.string() })
    .transform(({ name, key }) => `${name}:${key}`),
]);
const UPSTREAMS = z.array(UPSTREAM_MEMBER.extend({ apiKey: z.string().exactOptional() })).min(1);
const OBJECT: z.ZodType<Record<string, unknown>> = z.strictObject({
  ...MEMBERS,
  upstream: z.string().exactOptional(),
  upstreamKey: z.string().exactOptional(),
  upstreams: UPSTREAMS.exactOptional(),
  apiKeys: z.array(KEY).exactOptional(),
});

/**
 * @param env where a `keyVariable` is looked up, and nothing else
 * @throws {ConfigError} that names the member, and nothing else
 */
export function readSettings(settings: unknown, env: NodeJS.ProcessEnv): Apart {
  const { upstreams: listed, ...members } = checked(settings);
  const upstreams = listed as readonly UpstreamMember[] | undefined;
  refuseBoth(members, upstreams);
  const names = upstreams?.flatMap(({ keyVariable }) => keyVariable ?? []) ?? [];
  const file: ConfigFile = {
    given: new Map(
      Object.entries(members).map(([name, value]) => [ROW_OF[name] ?? (name as SettingName), asGiven(value)]),
    ),
    where: (member) => MEMBER_OF.get(member) ?? member,
    ...(upstreams === undefined ? {} : { upstreams }),
  };
  const variables = Object.fromEntries(names.map((name) => [name, env[name]]));
  return settleApart({ flags: new Map(), env: variables, file });
}

function checked(settings: unknown): Record<string, unknown> {
  const result = OBJECT.safeParse(withoutUndefined(settings));
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const at = dotted(issue?.path ?? []);
  throw new ConfigError(at === "" ? "settings" : at, issue === undefined ? "is not valid" : reasonOf(issue));
}

/** Whoever passes a variable of the environment's on has a string, and whoever misspells has a name. */
function reasonOf(issue: z.core.$ZodIssue): string {
  if (issue.code !== "invalid_union") return describe(issue);
  return "must be a string, or an object with name and key";
}

function withoutUndefined(settings: unknown): unknown {
  if (typeof settings !== "object" || settings === null || Array.isArray(settings)) return settings;
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
}

function refuseBoth(
  members: Record<string, unknown>,
  upstreams: readonly UpstreamMember[] | undefined,
): void {
  for (const [index, { apiKey, keyVariable }] of (upstreams ?? []).entries()) {
    if (apiKey !== undefined && keyVariable !== undefined)
      throw new ConfigError(
        `upstreams[${index}].apiKey`,
        "keyVariable names a key already; drop one of them",
      );
  }
  for (const name of Object.keys(ROW_OF)) {
    if (upstreams !== undefined && members[name] !== undefined)
      throw new ConfigError(name, "upstreams are listed already; drop one of them");
  }
  if (members["upstream"] === "openai" && members["upstreamKey"] === undefined)
    throw new ConfigError("upstreamKey", "openai needs one");
}
