/** From single values to one configuration: the upstreams, and the combinations that cannot be. */
import { isLoopback, reachesItself } from "./addresses.ts";
import type { Values } from "./settings.ts";
import { labelOf, readValues, type Sources, strayVariables } from "./sources.ts";
import { type Config, ConfigError, type UpstreamConfig } from "./types.ts";
import { listedUpstreams, singleUpstream } from "./upstreams.ts";

export interface Settled {
  readonly config: Config;
  /** One line each; what is odd, but no reason not to start. */
  readonly warnings: readonly string[];
}

/** Of a gateway that listens for itself. @throws ConfigError */
export function settle(sources: Sources): Settled {
  const { refusePlace, ...settled } = settleApart(sources);
  refusePlace();
  return settled;
}

export interface Apart extends Settled {
  /** What cannot be where it is to listen. @throws ConfigError */
  readonly refusePlace: () => void;
}

/** Of one that may be part of another server, which listens for it. @throws ConfigError */
export function settleApart(sources: Sources): Apart {
  const {
    config: _file,
    openaiBaseUrl: choice,
    openaiApiKey,
    redisUrl: _redis,
    ...rest
  } = readValues(sources);
  const listed = choice === undefined ? sources.file.upstreams : undefined;
  const upstreams =
    listed === undefined
      ? [
          singleUpstream(
            choice,
            openaiApiKey,
            (problem) => new ConfigError(labelOf(sources, "openaiBaseUrl"), problem),
          ),
        ]
      : listedUpstreams(listed, sources.env, sources.file.where);
  const config: Config = { ...rest, upstreams };
  refuseUnusedKeys(config, sources);
  const warnings = [...strayVariables(sources), ...replacedUpstreams(sources, choice)];
  const refusePlace = (): void => {
    refuseOpenDoor(config, sources);
    refuseCircle(config, sources, listed !== undefined);
  };
  return freeze({ config, warnings, refusePlace });
}

function replacedUpstreams(sources: Sources, choice: Values["openaiBaseUrl"]): readonly string[] {
  if (choice === undefined || sources.file.upstreams === undefined) return [];
  return [`${labelOf(sources, "openaiBaseUrl")} replaces ${sources.file.where("upstreams")}`];
}

function refuseUnusedKeys({ apiKeys, auth }: Config, sources: Sources): void {
  if (auth !== "none" || apiKeys.length === 0) return;
  const keys = labelOf(sources, "apiKeys");
  throw new ConfigError(
    labelOf(sources, "auth"),
    `"none" asks for no keys, but ${keys} sets some; drop one of them`,
  );
}

function refuseOpenDoor({ host, apiKeys, auth }: Config, sources: Sources): void {
  if (auth === "none" || apiKeys.length > 0 || isLoopback(host)) return;
  const problem = `${host} can be reached from other machines, but there is no API key: set SLUICE_API_KEYS, or SLUICE_AUTH=none to open it on purpose`;
  throw new ConfigError(labelOf(sources, "host"), problem);
}

/** An upstream that is the gateway itself would send every request round and round. */
function refuseCircle({ host, port, upstreams }: Config, sources: Sources, listed: boolean): void {
  const index = upstreams.findIndex(
    (each: UpstreamConfig) => !each.demo && reachesItself(each.baseUrl, host, port),
  );
  if (index < 0) return;
  const setting = listed
    ? sources.file.where(`upstreams[${index}].baseUrl`)
    : labelOf(sources, "openaiBaseUrl");
  const problem = `${upstreams[index]?.baseUrl} is the address that Sluice itself listens on; choose another with --port`;
  throw new ConfigError(setting, `${problem} (PORT), such as --port ${port === 8001 ? 8002 : 8001}`);
}

function freeze<T>(value: T): T {
  if (typeof value === "object" && value !== null) {
    for (const member of Object.values(value)) freeze(member);
    Object.freeze(value);
  }
  return value;
}
