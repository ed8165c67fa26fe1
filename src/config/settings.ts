/**
 * The one table of settings. Variables, flags, members of the config file, `--help` and the table of docs/SETTINGS.md follow from it;
 * to add a setting, add its row here and its member to `Config`.
 */
import { readHost, readOrigins, readPublicUrl } from "./addresses.ts";
import { readApiKeys } from "./keys.ts";
import * as kind from "./kinds.ts";
import type { ApiKey, AuthMode, LogLevel } from "./types.ts";
import { KNOWN_UPSTREAMS, readUpstream } from "./upstreams.ts";

interface Row {
  readonly env: string;
  /** For `--help` and docs/SETTINGS.md; code stands in backticks. */
  readonly meaning: string;
}

interface Exceptions {
  /** Where the flag is not called like the variable. */
  readonly flag?: string;
  /** What the tables show as the default. */
  readonly shown?: string;
  /** No flag: other users of the machine can read a command line. */
  readonly secret?: true;
  /** Not a member of the config file. */
  readonly outsideFile?: true;
}

export interface Setting<T, F extends T | undefined = T | undefined> extends Row, Exceptions, kind.Kind<T> {
  readonly fallback: F;
}

/** The longest string of V8: a longer body could not be parsed. */
const LONGEST_STRING = 2 ** 29 - 24;
const LEVELS = ["fatal", "error", "warn", "info", "debug", "trace", "silent"] as const;
const AUTH = kind.oneOf<AuthMode>(["keys", "none"]);

function row<T>(
  env: string,
  of: kind.Kind<T>,
  fallback: T,
  meaning: string,
  rest: Exceptions = {},
): Setting<T, T> {
  return { ...of, ...rest, env, meaning, fallback };
}

function unset<T>(
  env: string,
  of: kind.Kind<T>,
  meaning: string,
  rest: Exceptions = {},
): Setting<T, undefined> {
  return { ...of, ...rest, env, meaning, fallback: undefined };
}

const listening = {
  host: row(
    "HOST",
    kind.scalar("HOST", readHost),
    "127.0.0.1",
    "where it listens; a host other than loopback without any API key is refused, unless `SLUICE_AUTH=none`",
  ),
  port: row("PORT", kind.integer(0, 65535), 8000, "where it listens; 0 lets the system choose"),
  publicUrl: unset(
    "SLUICE_PUBLIC_URL",
    kind.scalar("URL", readPublicUrl),
    "the address that browsers use, where it is not what it listens on (behind a proxy, TLS): defines same-origin " +
      "and the hosts that are answered",
  ),
  logLevel: row("LOG_LEVEL", kind.oneOf<LogLevel>(LEVELS), "info", `one of ${LEVELS.join(", ")}`),
  config: unset(
    "SLUICE_CONFIG",
    kind.text("FILE"),
    "a JSON file with any of these settings in camelCase (`maxConcurrency`), and with `upstreams`, several of them " +
      "in order of preference",
    { outsideFile: true },
  ),
};

const upstream = {
  openaiBaseUrl: unset(
    "OPENAI_BASE_URL",
    kind.scalar("URL|NAME", readUpstream),
    `the upstream: a URL, or one of the names ${KNOWN_UPSTREAMS.map((name) => `\`${name}\``).join(", ")}; replaces ` +
      "the `upstreams` of the config file. Nothing set: the demo",
    { flag: "upstream", outsideFile: true },
  ),
  openaiApiKey: unset(
    "OPENAI_API_KEY",
    kind.scalar("KEY", kind.headerSecret),
    "the key for that upstream; alone, with no upstream named anywhere, it means OpenAI. No other `OPENAI_*` " +
      "variable is read",
    { secret: true, outsideFile: true },
  ),
  defaultModel: unset(
    "SLUICE_DEFAULT_MODEL",
    kind.text("MODEL"),
    "used where a request names no model; unset, the upstream's only model, and with several the request is refused",
  ),
  includeUsage: row(
    "SLUICE_INCLUDE_USAGE",
    kind.boolean(),
    false,
    "ask the upstream for usage on every stream, and withhold that chunk from a client that did not ask",
  ),
  upstreamHttp2: row(
    "SLUICE_UPSTREAM_HTTP2",
    kind.boolean(),
    true,
    "speak HTTP/2 to an upstream that offers it over TLS: many streams on one connection",
  ),
};

const admission = {
  maxConcurrency: row("SLUICE_MAX_CONCURRENCY", kind.integer(1), 256, "upstream requests at once"),
  maxQueue: row(
    "SLUICE_MAX_QUEUE",
    kind.integer(0),
    1024,
    "requests waiting beyond these; one more is refused with 429 `queue_full`",
  ),
  queueMaxBytes: row(
    "SLUICE_QUEUE_MAX_BYTES",
    kind.bytes(0),
    67108864,
    "the bodies of all waiting requests together; past it, 429 `queue_full`",
  ),
  queueTimeoutMs: row(
    "SLUICE_QUEUE_TIMEOUT_MS",
    kind.milliseconds(1),
    30000,
    "longest wait; then 503 `queue_timeout`",
  ),
  keyMaxConcurrency: unset(
    "SLUICE_KEY_MAX_CONCURRENCY",
    kind.integer(1),
    "upstream requests at once, for each key",
  ),
  keyMaxQueue: unset("SLUICE_KEY_MAX_QUEUE", kind.integer(0), "requests waiting, for each key"),
};

const times = {
  firstTokenTimeoutMs: row(
    "SLUICE_FIRST_TOKEN_TIMEOUT_MS",
    kind.milliseconds(1),
    300000,
    "streamed: from sending upstream to the first content",
  ),
  stallTimeoutMs: row(
    "SLUICE_STALL_TIMEOUT_MS",
    kind.milliseconds(1),
    120000,
    "streamed: between two upstream events after the first content; comments are no progress",
  ),
  totalTimeoutMs: row(
    "SLUICE_TOTAL_TIMEOUT_MS",
    kind.milliseconds(1),
    600000,
    "not streamed: the whole answer",
  ),
  heartbeatMs: row(
    "SLUICE_HEARTBEAT_MS",
    kind.milliseconds(1),
    15000,
    "silence towards a reader whose headers have left, before a heartbeat",
  ),
  earlyHeadersMs: row(
    "SLUICE_EARLY_HEADERS_MS",
    kind.milliseconds(1),
    35000,
    "a stream's headers leave with its first content, or after this long without any, before a proxy gives up",
  ),
  writeStallMs: row(
    "SLUICE_WRITE_STALL_MS",
    kind.milliseconds(1),
    30000,
    "a reader whose socket took nothing for so long is cut off (`slow_reader`); it can resume",
  ),
  disconnectGraceMs: row(
    "SLUICE_DISCONNECT_GRACE_MS",
    kind.milliseconds(0),
    30000,
    "how long a generation of the policy `grace` goes on without a reader",
  ),
  retentionMs: row(
    "SLUICE_RETENTION_MS",
    kind.milliseconds(0),
    300000,
    "how long an ended generation can be replayed",
  ),
  shutdownTimeoutMs: row(
    "SLUICE_SHUTDOWN_TIMEOUT_MS",
    kind.milliseconds(0),
    25000,
    "after SIGTERM, how long running generations may go on to their end",
  ),
};

const memory = {
  logMaxBytes: row(
    "SLUICE_LOG_MAX_BYTES",
    kind.bytes(1),
    16777216,
    "one generation's log; past it the generation fails with `log_limit`",
  ),
  runningMaxBytes: row(
    "SLUICE_RUNNING_MAX_BYTES",
    kind.bytes(1),
    1073741824,
    "all running logs together; past it new work is refused with 503 `overloaded`",
  ),
  retainedMaxBytes: row(
    "SLUICE_RETAINED_MAX_BYTES",
    kind.bytes(0),
    268435456,
    "all ended logs together; the oldest go first",
  ),
  maxBodyBytes: row(
    "SLUICE_MAX_BODY_BYTES",
    kind.bytes(1, LONGEST_STRING),
    10485760,
    "one request body or WebSocket message",
  ),
  maxConnections: row("SLUICE_MAX_CONNECTIONS", kind.integer(1), 10000, "sockets"),
};

const access = {
  apiKeys: row<readonly ApiKey[]>(
    "SLUICE_API_KEYS",
    kind.list("KEYS", readApiKeys),
    [],
    "comma-separated keys that clients must show; `name:key` gives one a name for ownership, metrics and limits",
    { secret: true },
  ),
  auth: row("SLUICE_AUTH", AUTH, "keys", "`none` opens all routes on purpose"),
  metricsAuth: row("SLUICE_METRICS_AUTH", AUTH, "keys", "`none` opens `/metrics` on purpose"),
  corsOrigins: row<readonly string[]>(
    "SLUICE_CORS_ORIGINS",
    kind.list("ORIGINS", readOrigins),
    [],
    "comma-separated foreign origins whose pages may call; same-origin always may; `*` is explicit",
  ),
  ticketSecret: unset(
    "SLUICE_TICKET_SECRET",
    kind.text("SECRET"),
    "signs the tickets of browsers; set it where several instances are to honour each other's",
    { secret: true, shown: "made at start" },
  ),
  redisUrl: unset(
    "SLUICE_REDIS_URL",
    kind.scalar("URL", (_, complain): never => {
      throw complain("this version has no shared store yet; leave it unset");
    }),
    "a store that several instances share; not in this version, which refuses it",
  ),
};

/** With their headings in `--help`. */
export const GROUPS: ReadonlyArray<readonly [heading: string, settings: Record<string, Setting<unknown>>]> = [
  ["Listening", listening],
  ["Upstream", upstream],
  ["Admission", admission],
  ["Times, in milliseconds", times],
  ["Sizes, in bytes, and sockets", memory],
  ["Who may", access],
];

export const SETTINGS = { ...listening, ...upstream, ...admission, ...times, ...memory, ...access };

type Table = typeof SETTINGS;
export type SettingName = keyof Table;
type UnsetName = {
  [N in SettingName]: Table[N]["fallback"] extends undefined ? N : never;
}[SettingName];
type Value<N extends SettingName> = ReturnType<Table[N]["read"]>;

/** One value for each row; those that have no default may be missing. */
export type Values = { readonly [N in Exclude<SettingName, UnsetName>]: Value<N> } & {
  readonly [N in UnsetName]?: Value<N>;
};

export const ROWS = Object.entries(SETTINGS) as ReadonlyArray<readonly [SettingName, Setting<unknown>]>;

/** `SLUICE_MAX_QUEUE` -> `max-queue`. */
export function flagOf(setting: Row & Exceptions): string {
  return setting.flag ?? kebab(setting.env.replace(/^SLUICE_/, ""));
}

export const kebab = (variable: string): string => variable.toLowerCase().replaceAll("_", "-");

export function shownDefault(setting: Setting<unknown>): string {
  const { shown, fallback } = setting;
  if (shown !== undefined) return shown;
  if (fallback === undefined) return "unset";
  return Array.isArray(fallback) && fallback.length === 0 ? "none" : String(fallback);
}
