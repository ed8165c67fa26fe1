/** Which upstreams there are: named by a flag or a variable, listed in the config file, or else the demo. */
import { z } from "zod";
import { readBaseUrl } from "./addresses.ts";
import { NAME, NAME_RULE } from "./keys.ts";
import { headerSecret, LONGEST_TIMER_MS } from "./kinds.ts";
import { type Complain, ConfigError, type UpstreamConfig } from "./types.ts";

const OPENAI = "https://api.openai.com/v1";

const ADDRESSES: ReadonlyMap<string, string> = new Map([
  ["openai", OPENAI],
  ["ollama", "http://127.0.0.1:11434/v1"],
  ["llama.cpp", "http://127.0.0.1:8080/v1"],
  ["lmstudio", "http://127.0.0.1:1234/v1"],
  ["vllm", "http://127.0.0.1:8000/v1"],
  ["demo", ""],
]);

export const KNOWN_UPSTREAMS: readonly string[] = [...ADDRESSES.keys()];

/** What `--upstream` names. */
export interface UpstreamChoice {
  readonly name: string;
  readonly baseUrl: string;
  /** Chosen by its name, so that a missing key can only be an oversight. */
  readonly needsKey: boolean;
}

export function readUpstream(text: string, complain: Complain): UpstreamChoice {
  const known = ADDRESSES.get(text);
  if (known !== undefined) return { name: text, baseUrl: known, needsKey: text === "openai" };
  if (!text.includes("://")) {
    throw complain(`must be one of ${KNOWN_UPSTREAMS.join(", ")}, or a URL: http://... or https://...`);
  }
  const baseUrl = readBaseUrl(text, complain);
  const name = KNOWN_UPSTREAMS.find((each) => ADDRESSES.get(each) === baseUrl);
  // Never its address, which answers and metrics would show to clients.
  return { name: name ?? "upstream", baseUrl, needsKey: false };
}

export const DEMO: UpstreamConfig = { name: "demo", baseUrl: "", models: [], demo: true };

/** The one upstream of a flag or variable, or the one that nothing but a key implies. */
export function singleUpstream(
  choice: UpstreamChoice | undefined,
  apiKey: string | undefined,
  complain: Complain,
): UpstreamConfig {
  if (choice === undefined && apiKey === undefined) return DEMO;
  const { name, baseUrl, needsKey } = choice ?? { name: "openai", baseUrl: OPENAI, needsKey: true };
  if (name === "demo") return DEMO;
  if (needsKey && apiKey === undefined)
    throw complain("openai needs the environment variable OPENAI_API_KEY");
  return { name, baseUrl, ...(apiKey === undefined ? {} : { apiKey }), models: [], demo: false };
}

const LIMIT_MS = z.int().min(1).max(LONGEST_TIMER_MS).exactOptional();

/** One of `upstreams` in the config file. */
export const UPSTREAM_MEMBER = z.strictObject({
  name: z.string().regex(NAME, { error: NAME_RULE }),
  baseUrl: z.string(),
  keyVariable: z
    .string()
    .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, { error: "must be the name of an environment variable" })
    .exactOptional(),
  models: z.array(z.string().min(1)).exactOptional(),
  maxConcurrency: z.int().min(1).exactOptional(),
  firstTokenTimeoutMs: LIMIT_MS,
  stallTimeoutMs: LIMIT_MS,
  totalTimeoutMs: LIMIT_MS,
});

export interface UpstreamMember extends z.infer<typeof UPSTREAM_MEMBER> {
  /** The key itself: not from a file, where a secret has no place. */
  readonly apiKey?: string;
}

/** `where` labels a member of the file in a complaint. */
export function listedUpstreams(
  members: readonly UpstreamMember[],
  env: NodeJS.ProcessEnv,
  where: (member: string) => string,
): readonly UpstreamConfig[] {
  const names = new Set<string>();
  return members.map((member, index) => {
    const at = (name: string) => (problem: string) =>
      new ConfigError(where(`upstreams[${index}].${name}`), problem);
    if (names.has(member.name)) throw at("name")("another upstream has this name already");
    names.add(member.name);
    const { baseUrl, keyVariable, apiKey, models = [], ...rest } = member;
    return {
      ...rest,
      baseUrl: readBaseUrl(baseUrl, at("baseUrl")),
      ...(apiKey === undefined ? {} : { apiKey: headerSecret(apiKey, at("apiKey")) }),
      ...(keyVariable === undefined ? {} : { apiKey: keyIn(env, keyVariable, at("keyVariable")) }),
      models,
      demo: false,
    };
  });
}

function keyIn(env: NodeJS.ProcessEnv, variable: string, complain: Complain): string {
  const key = env[variable]?.trim();
  // Without the name: whoever mistook this member for the key itself has put a secret here.
  if (key === undefined || key === "") throw complain("names an environment variable that is not set");
  return headerSecret(key, (problem) => complain(`the variable ${problem}`));
}
