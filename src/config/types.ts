/** What the rest of the house sees of the configuration. Times are milliseconds, sizes are bytes. */

export interface UpstreamConfig {
  readonly name: string;
  /** Without a trailing slash; empty for the demo, whose address the server knows only once it listens. */
  readonly baseUrl: string;
  readonly apiKey?: string;
  /** Patterns in which `*` stands for any text; empty serves every model. */
  readonly models: readonly string[];
  readonly maxConcurrency?: number;
  readonly firstTokenTimeoutMs?: number;
  readonly stallTimeoutMs?: number;
  readonly totalTimeoutMs?: number;
  /** The built-in demo upstream. */
  readonly demo: boolean;
}

export interface ApiKey {
  readonly name: string;
  readonly key: string;
}

export type LogLevel = "fatal" | "error" | "warn" | "info" | "debug" | "trace" | "silent";

/** `none` opens the routes on purpose. */
export type AuthMode = "keys" | "none";

/** Validated and deeply frozen. */
export interface Config {
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  readonly logLevel: LogLevel;
  /** At least one, in order of preference. */
  readonly upstreams: readonly UpstreamConfig[];
  readonly defaultModel?: string;
  readonly apiKeys: readonly ApiKey[];
  /** An origin: `https://chat.example.com`, the port only where it is not the scheme's own. */
  readonly publicUrl?: string;
  readonly maxConcurrency: number;
  readonly maxQueue: number;
  readonly queueMaxBytes: number;
  readonly queueTimeoutMs: number;
  readonly firstTokenTimeoutMs: number;
  readonly stallTimeoutMs: number;
  readonly totalTimeoutMs: number;
  readonly heartbeatMs: number;
  readonly earlyHeadersMs: number;
  readonly writeStallMs: number;
  readonly disconnectGraceMs: number;
  readonly logMaxBytes: number;
  readonly runningMaxBytes: number;
  readonly retainedMaxBytes: number;
  readonly retentionMs: number;
  readonly maxBodyBytes: number;
  readonly maxConnections: number;
  /** `*`, or origins as a browser writes them. */
  readonly corsOrigins: readonly string[];
  readonly keyMaxConcurrency?: number;
  readonly keyMaxQueue?: number;
  readonly auth: AuthMode;
  readonly metricsAuth: AuthMode;
  readonly includeUsage: boolean;
  readonly upstreamHttp2: boolean;
  /** Absent: one is made at the start. */
  readonly ticketSecret?: string;
  readonly shutdownTimeoutMs: number;
}

/** Something in the settings that cannot be honoured. The message is one line and never holds a secret. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  /** The setting as the user wrote it: a variable, a flag, or a member of the config file. */
  readonly setting: string;

  constructor(setting: string, problem: string) {
    super(oneLine(`${setting}: ${problem}`));
    this.setting = setting;
  }
}

/** Says what is wrong with a value; whoever calls the reader knows which setting it is. */
export type Complain = (problem: string) => ConfigError;

/** Control characters would break the promise of one line, and could draw on the operator's terminal. */
function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ");
}
