import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Config, ConfigError, helpText, readCommand, settingsTable } from "../../src/config.ts";

const DEFAULTS = {
  host: "127.0.0.1",
  port: 8000,
  logLevel: "info",
  maxConcurrency: 256,
  maxQueue: 1024,
  queueMaxBytes: 67108864,
  queueTimeoutMs: 30000,
  firstTokenTimeoutMs: 300000,
  stallTimeoutMs: 120000,
  totalTimeoutMs: 600000,
  heartbeatMs: 15000,
  earlyHeadersMs: 35000,
  writeStallMs: 30000,
  disconnectGraceMs: 30000,
  retentionMs: 300000,
  logMaxBytes: 16777216,
  runningMaxBytes: 1073741824,
  retainedMaxBytes: 268435456,
  maxBodyBytes: 10485760,
  maxConnections: 10000,
  shutdownTimeoutMs: 25000,
  apiKeys: [],
  corsOrigins: [],
  auth: "keys",
  metricsAuth: "keys",
  includeUsage: false,
  upstreamHttp2: true,
  upstreams: [{ name: "demo", baseUrl: "", models: [], demo: true }],
};

/** The contract's table: variable, member, flag, and a value that is not the default. */
const ROWS: ReadonlyArray<
  readonly [env: string, member: keyof Config, flag: string, text: string, value: unknown]
> = [
  ["HOST", "host", "--host", "localhost", "localhost"],
  ["PORT", "port", "--port", "0", 0],
  ["LOG_LEVEL", "logLevel", "--log-level", "trace", "trace"],
  ["SLUICE_DEFAULT_MODEL", "defaultModel", "--default-model", "llama-3", "llama-3"],
  [
    "SLUICE_PUBLIC_URL",
    "publicUrl",
    "--public-url",
    "HTTPS://Chat.Example.com:443/",
    "https://chat.example.com",
  ],
  ["SLUICE_MAX_CONCURRENCY", "maxConcurrency", "--max-concurrency", "7", 7],
  ["SLUICE_MAX_QUEUE", "maxQueue", "--max-queue", "0", 0],
  ["SLUICE_QUEUE_MAX_BYTES", "queueMaxBytes", "--queue-max-bytes", "1", 1],
  ["SLUICE_QUEUE_TIMEOUT_MS", "queueTimeoutMs", "--queue-timeout-ms", "2147483647", 2147483647],
  ["SLUICE_FIRST_TOKEN_TIMEOUT_MS", "firstTokenTimeoutMs", "--first-token-timeout-ms", "1", 1],
  ["SLUICE_STALL_TIMEOUT_MS", "stallTimeoutMs", "--stall-timeout-ms", "2", 2],
  ["SLUICE_TOTAL_TIMEOUT_MS", "totalTimeoutMs", "--total-timeout-ms", "3", 3],
  ["SLUICE_HEARTBEAT_MS", "heartbeatMs", "--heartbeat-ms", "4", 4],
  ["SLUICE_EARLY_HEADERS_MS", "earlyHeadersMs", "--early-headers-ms", "5", 5],
  ["SLUICE_WRITE_STALL_MS", "writeStallMs", "--write-stall-ms", "6", 6],
  ["SLUICE_DISCONNECT_GRACE_MS", "disconnectGraceMs", "--disconnect-grace-ms", "0", 0],
  ["SLUICE_RETENTION_MS", "retentionMs", "--retention-ms", "0", 0],
  ["SLUICE_LOG_MAX_BYTES", "logMaxBytes", "--log-max-bytes", "100", 100],
  [
    "SLUICE_RUNNING_MAX_BYTES",
    "runningMaxBytes",
    "--running-max-bytes",
    "9007199254740991",
    9007199254740991,
  ],
  ["SLUICE_RETAINED_MAX_BYTES", "retainedMaxBytes", "--retained-max-bytes", "0", 0],
  ["SLUICE_MAX_BODY_BYTES", "maxBodyBytes", "--max-body-bytes", "1024", 1024],
  ["SLUICE_MAX_CONNECTIONS", "maxConnections", "--max-connections", "12", 12],
  ["SLUICE_CORS_ORIGINS", "corsOrigins", "--cors-origins", "*", ["*"]],
  ["SLUICE_KEY_MAX_CONCURRENCY", "keyMaxConcurrency", "--key-max-concurrency", "9", 9],
  ["SLUICE_KEY_MAX_QUEUE", "keyMaxQueue", "--key-max-queue", "0", 0],
  ["SLUICE_AUTH", "auth", "--auth", "none", "none"],
  ["SLUICE_METRICS_AUTH", "metricsAuth", "--metrics-auth", "none", "none"],
  ["SLUICE_INCLUDE_USAGE", "includeUsage", "--include-usage", "true", true],
  ["SLUICE_UPSTREAM_HTTP2", "upstreamHttp2", "--upstream-http2", "false", false],
  ["SLUICE_SHUTDOWN_TIMEOUT_MS", "shutdownTimeoutMs", "--shutdown-timeout-ms", "0", 0],
];

const SECRET_ROWS = ["OPENAI_API_KEY", "SLUICE_API_KEYS", "SLUICE_TICKET_SECRET"];
const OTHER_ROWS = ["OPENAI_BASE_URL", "SLUICE_CONFIG", "SLUICE_REDIS_URL"];

interface Given {
  readonly args?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** The config file, as JSON text or as a value. */
  readonly file?: unknown;
}

function read({ args = [], env = {}, file }: Given) {
  const text = typeof file === "string" ? file : JSON.stringify(file);
  const named = file === undefined ? env : { SLUICE_CONFIG: "sluice.json", ...env };
  const command = readCommand(args, named, () => text);
  if (command.kind !== "serve" && command.kind !== "check") throw new Error(`not a start: ${command.kind}`);
  return command;
}

const configOf = (given: Given): Config => read(given).config;

function refusal(given: Given): ConfigError {
  try {
    read(given);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error("was not refused");
}

const KEYED = { SLUICE_API_KEYS: "web:abc" };

describe("defaults", () => {
  it("are those of the contract's table, and nothing else is there", () => {
    expect(read({})).toEqual({ kind: "serve", config: DEFAULTS, warnings: [] });
  });

  it("count for empty variables too", () => {
    const env = Object.fromEntries(
      [...ROWS.map(([name]) => name), ...SECRET_ROWS, ...OTHER_ROWS].map((name) => [name, " "]),
    );
    expect(configOf({ env })).toEqual(DEFAULTS);
  });

  it("stand in the settings' table and in the help, with every setting", () => {
    for (const env of [...ROWS.map((row) => row[0]), ...SECRET_ROWS, ...OTHER_ROWS]) {
      expect(settingsTable()).toContain(`| \`${env}\` |`);
      expect(helpText()).toMatch(new RegExp(`\\b${env}[ ,]`));
    }
    for (const [, member, flag] of ROWS) {
      const value = (DEFAULTS as Record<string, unknown>)[member];
      const row = settingsTable()
        .split("\n")
        .find((line) => line.includes(`\`${flag}`));
      expect(helpText()).toContain(`  ${flag}`);
      if (typeof value !== "object" && value !== undefined) expect(row).toContain(`| \`${String(value)}\` |`);
    }
  });
});

describe.each(ROWS)("%s", (env, member, flag, text, value) => {
  const json = typeof value === "string" ? text : value;

  it("is read from the variable, the flag and the file alike", () => {
    expect(configOf({ env: { [env]: ` ${text} ` } })[member]).toEqual(value);
    expect(configOf({ args: [`${flag}=${text}`] })[member]).toEqual(value);
    expect(configOf({ file: { [member]: json } })[member]).toEqual(value);
    if (typeof value !== "boolean") expect(configOf({ args: [flag, text] })[member]).toEqual(value);
  });

  it("is named as it was written when it cannot be read", () => {
    if (flag === "--default-model") return; // Any text will do.
    const bad = "no such value!";
    expect(refusal({ env: { [env]: bad } }).setting).toBe(env);
    expect(refusal({ args: [`${flag}=${bad}`] }).setting).toBe(flag);
    expect(refusal({ file: { [member]: bad } }).setting).toBe(`${member} in sluice.json`);
    expect(refusal({ env: { [env]: bad } }).message).toMatch(new RegExp(`^${env}: .+$`));
  });

  it("loses from the file to the environment, and from there to the flag", () => {
    const other = { [env]: "no such value!" };
    expect(configOf({ args: [`${flag}=${text}`], env: other })[member]).toEqual(value);
    const file = { [member]: typeof json === "number" ? -1 : json };
    expect(configOf({ env: { [env]: text }, file })[member]).toEqual(value);
  });
});

describe("numbers", () => {
  it.each(["-1", "1.5", "1e3", "0x10", "1_000", "+5", "1 0", "Infinity", "9007199254740993", "٣"])(
    "refuse %j",
    (text) => {
      expect(refusal({ env: { SLUICE_MAX_QUEUE: text } }).message).toContain(
        "is not a whole number from 0 to",
      );
    },
  );

  it.each([
    ["PORT", "65536"],
    ["SLUICE_MAX_CONCURRENCY", "0"],
    ["SLUICE_KEY_MAX_CONCURRENCY", "0"],
    ["SLUICE_HEARTBEAT_MS", "0"],
    ["SLUICE_EARLY_HEADERS_MS", "0"],
    ["SLUICE_WRITE_STALL_MS", "0"],
    ["SLUICE_STALL_TIMEOUT_MS", "2147483648"],
    ["SLUICE_MAX_BODY_BYTES", "536870889"],
    ["SLUICE_MAX_CONNECTIONS", "0"],
  ])("keep %s within its bounds: %s", (name, text) => {
    expect(refusal({ env: { [name]: text } }).setting).toBe(name);
  });

  it.each([1.5, "8", 1e300, null, true, [1]])("are whole JSON numbers in the file: not %j", (value) => {
    expect(refusal({ file: { maxQueue: value } }).setting).toBe("maxQueue in sluice.json");
  });
});

describe("flags", () => {
  it.each([
    [["--help"], "help"],
    [["-h", "--nonsense"], "help"],
    [["--version"], "version"],
    [["-v"], "version"],
    [["--check-config"], "check"],
    [[], "serve"],
  ])("%j asks for %s", (args, kind) => {
    expect(readCommand(args, {}).kind).toBe(kind);
  });

  it("switch on and off", () => {
    expect(configOf({ args: ["--include-usage"] }).includeUsage).toBe(true);
    expect(
      configOf({ args: ["--include-usage=false"], env: { SLUICE_INCLUDE_USAGE: "1" } }).includeUsage,
    ).toBe(false);
    expect(configOf({ args: ["--port", "1", "--port", "2"] }).port).toBe(2);
  });

  it.each([
    [["--max-que", "3"], "--max-que", "did you mean --max-queue?"],
    [["--max_queue=3"], "--max_queue", "did you mean --max-queue?"],
    [["--openai-base-url", "http://x"], "--openai-base-url", "did you mean --upstream?"],
    [["--zzz"], "--zzz", "see sluice --help"],
    [["-x"], "-x", "unknown flag"],
    [["--__proto__=1"], "--__proto__", "unknown flag"],
    [["--port"], "--port", "needs a value"],
    [["--port="], "--port", "needs a value"],
    [["--port", "--host", "x"], "--port", "--port=VALUE"],
    [["--check-config=no"], "--check-config", "takes no value"],
    [["serve"], "argument 1", "flags only"],
    [["--port", "1", "--", "x"], "argument 4", "flags only"],
  ])("refuse %j", (args, setting, hint) => {
    const error = refusal({ args });
    expect(error.setting).toBe(setting);
    expect(error.message).toContain(hint);
  });

  it.each([
    ["--openai-api-key", "OPENAI_API_KEY"],
    ["--api-keys", "SLUICE_API_KEYS"],
    ["--ticket-secret", "SLUICE_TICKET_SECRET"],
  ])("%s is no flag, since others can read a command line", (flag, variable) => {
    for (const args of [[flag, "hunter2"], [`${flag}=hunter2`], [flag]]) {
      const error = refusal({ args });
      expect(error.setting).toBe(flag);
      expect(error.message).toContain(`set ${variable}`);
    }
  });
});

describe("the upstream", () => {
  const openai = {
    name: "openai",
    baseUrl: "https://api.openai.com/v1",
    apiKey: "sk-1",
    models: [],
    demo: false,
  };
  const KEY = { OPENAI_API_KEY: "sk-1" };
  const FILE = { upstreams: [{ name: "gpu", baseUrl: "http://gpu/v1" }] };

  it.each<readonly [string, Given, object]>([
    ["nothing: the demo", {}, { name: "demo", demo: true }],
    ["a key alone: OpenAI", { env: KEY }, openai],
    ["the name openai", { args: ["--upstream", "openai"], env: KEY }, openai],
    ["ollama", { args: ["--upstream", "ollama"] }, { name: "ollama", baseUrl: "http://127.0.0.1:11434/v1" }],
    [
      "llama.cpp",
      { args: ["--upstream=llama.cpp"] },
      { name: "llama.cpp", baseUrl: "http://127.0.0.1:8080/v1" },
    ],
    [
      "lmstudio",
      { args: ["--upstream=lmstudio"] },
      { name: "lmstudio", baseUrl: "http://127.0.0.1:1234/v1" },
    ],
    [
      "vllm elsewhere",
      { args: ["--upstream=vllm", "--port=1"] },
      { name: "vllm", baseUrl: "http://127.0.0.1:8000/v1" },
    ],
    [
      "demo beats the key",
      { args: ["--upstream", "demo"], env: KEY },
      { name: "demo", baseUrl: "", demo: true },
    ],
    [
      "a URL alone",
      { env: { OPENAI_BASE_URL: "http://Gpu:9/v1//" } },
      { name: "upstream", baseUrl: "http://gpu:9/v1" },
    ],
    [
      "a URL and a key",
      { env: { ...KEY, OPENAI_BASE_URL: "http://gpu" } },
      { baseUrl: "http://gpu", apiKey: "sk-1" },
    ],
    ["the file beats a key", { env: KEY, file: FILE }, { name: "gpu", baseUrl: "http://gpu/v1" }],
    [
      "a variable beats the file",
      { env: { OPENAI_BASE_URL: "http://b" }, file: FILE },
      { baseUrl: "http://b" },
    ],
    [
      "a flag beats both",
      { args: ["--upstream=http://c"], env: { OPENAI_BASE_URL: "x" }, file: FILE },
      { baseUrl: "http://c" },
    ],
  ])("%s", (_, given, expected) => {
    const { upstreams } = configOf(given);
    expect(upstreams).toHaveLength(1);
    expect(upstreams[0]).toMatchObject(expected);
    if (!("apiKey" in expected)) expect(upstreams[0]).not.toHaveProperty("apiKey");
  });

  it("warns where it replaces those of the file", () => {
    expect(read({ args: ["--upstream=demo"], file: FILE }).warnings).toEqual([
      "--upstream replaces upstreams in sluice.json",
    ]);
  });

  it.each([
    "ftp://x",
    "gpu:8000/v1",
    "nonsense",
    "http://",
    "http://user:hunter2@x/v1",
    "http://hunter2@x/v1",
    "http://x/v1?key=hunter2",
    "http://x/v1#hunter2",
  ])("refuses the address %s", (url) => {
    const error = refusal({ env: { OPENAI_BASE_URL: url } });
    expect(error.setting).toBe("OPENAI_BASE_URL");
    expect(error.message).not.toContain("hunter2");
  });

  it("needs a key where openai is named", () => {
    expect(refusal({ args: ["--upstream", "openai"] }).message).toMatch(/^--upstream: .*OPENAI_API_KEY/);
  });

  it.each<readonly [string, Given]>([
    ["--upstream", { args: ["--upstream", "vllm"] }],
    ["OPENAI_BASE_URL", { env: { OPENAI_BASE_URL: "http://localhost:8000/v1" } }],
    ["OPENAI_BASE_URL", { env: { ...KEYED, OPENAI_BASE_URL: "http://127.0.0.1:8000", HOST: "0.0.0.0" } }],
    ["OPENAI_BASE_URL", { env: { ...KEYED, OPENAI_BASE_URL: "http://[::1]:80", HOST: "::", PORT: "80" } }],
    [
      "upstreams[0].baseUrl in sluice.json",
      { file: { upstreams: [{ name: "a", baseUrl: "http://127.0.0.1:8000" }] } },
    ],
  ])("%s cannot be the gateway itself (%j)", (setting, given) => {
    const error = refusal(given);
    expect(error.setting).toBe(setting);
    expect(error.message).toContain("--port");
  });

  it.each(["http://127.0.0.2:8000", "http://127.0.0.1:8001", "http://gpu:8000", "https://127.0.0.1"])(
    "may be its neighbour %s",
    (url) => {
      expect(configOf({ env: { OPENAI_BASE_URL: url } }).upstreams[0]?.baseUrl).toBe(url);
    },
  );
});

describe("the config file", () => {
  it("lists upstreams in order of preference, with keys from variables and limits of their own", () => {
    const limits = { maxConcurrency: 2, firstTokenTimeoutMs: 3, stallTimeoutMs: 4, totalTimeoutMs: 5 };
    const gpu = { name: "gpu", baseUrl: "http://gpu:8000/v1/", models: ["llama-*"], ...limits };
    const cloud = { name: "cloud", baseUrl: "https://cloud.example/v1", keyVariable: "SLUICE_CLOUD_KEY" };
    const command = read({ env: { SLUICE_CLOUD_KEY: "sk-2" }, file: { upstreams: [gpu, cloud] } });
    expect(command.warnings).toEqual([]);
    expect(command.config.upstreams).toEqual([
      { name: "gpu", baseUrl: "http://gpu:8000/v1", models: ["llama-*"], ...limits, demo: false },
      { name: "cloud", baseUrl: "https://cloud.example/v1", apiKey: "sk-2", models: [], demo: false },
    ]);
  });

  it("is read from the path of the flag or the variable", () => {
    const paths: string[] = [];
    const load = (path: string): string => {
      paths.push(path);
      return '\uFEFF{"port": 9, "apiKeys": ["a:b,c", "d"]}';
    };
    const command = readCommand(["--config", "b.json"], { SLUICE_CONFIG: "a.json" }, load);
    expect(paths).toEqual(["b.json"]);
    const apiKeys = [
      { name: "a", key: "b,c" },
      { name: "key-1", key: "d" },
    ];
    expect(command).toMatchObject({ config: { port: 9, apiKeys } });
  });

  const GPU = { name: "gpu", baseUrl: "http://gpu" };
  it.each<readonly [unknown, string, string]>([
    ['{"a": hunter2}', "SLUICE_CONFIG", "not JSON"],
    ["", "SLUICE_CONFIG", "not JSON"],
    ["[]", "SLUICE_CONFIG", "expected object"],
    [{ maxQueu: 1, maxQueue: 2 }, "SLUICE_CONFIG", '"maxQueu"'],
    ['{"__proto__": {"hunter2": 1}}', "SLUICE_CONFIG", '"__proto__"'],
    [{ openaiApiKey: "hunter2" }, "SLUICE_CONFIG", '"openaiApiKey"'],
    [{ config: "x" }, "SLUICE_CONFIG", '"config"'],
    [{ redisUrl: "redis://:hunter2@x" }, "redisUrl in sluice.json", "no shared store yet"],
    [{ apiKeys: "hunter2" }, "apiKeys in sluice.json", "expected array"],
    [{ apiKeys: ["hunter2", "hunter2"] }, "apiKeys in sluice.json", "the same key"],
    [{ includeUsage: "yes" }, "includeUsage in sluice.json", "expected boolean"],
    [{ upstreams: null }, "upstreams in sluice.json", "expected array"],
    [{ upstreams: [] }, "upstreams in sluice.json", ">=1"],
    [{ upstreams: [GPU, { ...GPU }] }, "upstreams[1].name in sluice.json", "has this name already"],
    [{ upstreams: [{ ...GPU, name: "a b" }] }, "upstreams[0].name in sluice.json", "letters"],
    [{ upstreams: [{ name: "gpu" }] }, "upstreams[0].baseUrl in sluice.json", "expected string"],
    [
      { upstreams: [{ ...GPU, baseUrl: "http://a:hunter2@x" }] },
      "upstreams[0].baseUrl in sluice.json",
      "password",
    ],
    [{ upstreams: [{ ...GPU, apiKey: "hunter2" }] }, "upstreams[0] in sluice.json", '"apiKey"'],
    [
      { upstreams: [{ ...GPU, keyVariable: "sk-hunter2" }] },
      "upstreams[0].keyVariable in sluice.json",
      "name of an",
    ],
    [
      { upstreams: [{ ...GPU, keyVariable: "hunter2" }] },
      "upstreams[0].keyVariable in sluice.json",
      "not set",
    ],
    [{ upstreams: [{ ...GPU, models: [""] }] }, "upstreams[0].models[0] in sluice.json", "small"],
    [{ upstreams: [{ ...GPU, maxConcurrency: 0 }] }, "upstreams[0].maxConcurrency in sluice.json", "small"],
    [
      { upstreams: [{ ...GPU, stallTimeoutMs: 2 ** 31 }] },
      "upstreams[0].stallTimeoutMs in sluice.json",
      "big",
    ],
  ])("refuses %j, naming %s", (file, setting, hint) => {
    const error = refusal({ file });
    expect(error.setting).toBe(setting);
    expect(error.message).toContain(hint);
    expect(error.message).not.toContain("hunter2");
  });

  it("says which flag or variable named a file that is not there", () => {
    expect(() => readCommand(["--config", "/nowhere/x.json"], {})).toThrow(
      "--config: cannot read /nowhere/x.json (ENOENT)",
    );
  });
});

describe("keys and doors", () => {
  it("names keys, and counts those without a name", () => {
    expect(configOf({ env: { SLUICE_API_KEYS: "abc, web:d:e ,fgh" } }).apiKeys).toEqual([
      { name: "key-1", key: "abc" },
      { name: "web", key: "d:e" },
      { name: "key-2", key: "fgh" },
    ]);
  });

  it.each([
    "hunter2,",
    ",hunter2",
    "web:",
    ":hunter2",
    "none:hunter2",
    "other:hunter2",
    "a b:hunter2",
    `${"x".repeat(65)}:hunter2`,
    "web:hunter2,web:abc",
    "web:hunter2,app:hunter2",
    "key-1:abc,hunter2",
    "web:hunter2\u0000",
    "hunter2 hunter2",
    "hünter2",
  ])("refuses SLUICE_API_KEYS %j without showing it", (text) => {
    const error = refusal({ env: { SLUICE_API_KEYS: text } });
    expect(error.setting).toBe("SLUICE_API_KEYS");
    expect(error.message).not.toMatch(/h.nter2|abc/);
  });

  it.each(["127.0.0.1", "127.9.9.9", "localhost", "LocalHost", "::1", "[::1]", "0:0:0:0:0:0:0:1"])(
    "opens on %s without keys",
    (host) => {
      expect(configOf({ env: { HOST: host } }).apiKeys).toEqual([]);
    },
  );

  it.each(["0.0.0.0", "::", "[::]", "192.168.1.2", "example.com", "127.0.0.1.example.com", "0"])(
    "refuses %s without keys",
    (host) => {
      for (const given of [{ env: { HOST: host } }, { args: ["--host", host] }, { file: { host } }]) {
        const error = refusal(given);
        expect(error.setting).toMatch(/^(HOST|--host|host in sluice.json)$/);
        expect(error.message).toMatch(/SLUICE_API_KEYS.*SLUICE_AUTH=none/);
      }
      expect(configOf({ env: { ...KEYED, HOST: host } }).apiKeys).toHaveLength(1);
      expect(configOf({ env: { HOST: host, SLUICE_AUTH: "none" } }).auth).toBe("none");
    },
  );

  it.each(["", "a b", "localhost:80", "http://x", "-x", "::1::2", "[localhost", "a/b"])(
    "refuses the host %j",
    (host) => {
      expect(refusal({ file: { host } }).setting).toBe("host in sluice.json");
    },
  );

  it("cannot ask for keys and for none", () => {
    const error = refusal({ args: ["--auth", "none"], env: KEYED });
    expect(error.setting).toBe("--auth");
    expect(error.message).toContain("SLUICE_API_KEYS");
    expect(error.message).not.toContain("abc");
  });

  it("reads origins as browsers write them", () => {
    const text = "https://A.example:443, http://localhost:5173,chrome-extension://abc,https://a.example";
    const origins = ["https://a.example", "http://localhost:5173", "chrome-extension://abc"];
    expect(configOf({ env: { SLUICE_CORS_ORIGINS: text } }).corsOrigins).toEqual(origins);
  });

  it.each([
    "https://a.example/",
    "a.example",
    "null",
    "https://u:hunter2@a",
    "*.example",
    "https://a?b",
    "https://",
    "a,,b",
  ])("refuses the origin %j", (text) => {
    const error = refusal({ env: { SLUICE_CORS_ORIGINS: text } });
    expect(error.setting).toBe("SLUICE_CORS_ORIGINS");
    expect(error.message).not.toContain("hunter2");
  });

  it.each(["example.com", "ws://x", "https://u:hunter2@x", "https://x?y=hunter2"])(
    "refuses the public URL %s",
    (url) => {
      const error = refusal({ env: { SLUICE_PUBLIC_URL: url } });
      expect(error.setting).toBe("SLUICE_PUBLIC_URL");
      expect(error.message).not.toContain("hunter2");
    },
  );

  it("has no shared store yet", () => {
    const error = refusal({ env: { SLUICE_REDIS_URL: "redis://:hunter2@redis" } });
    expect(error.message).toBe("SLUICE_REDIS_URL: this version has no shared store yet; leave it unset");
    expect(refusal({ args: ["--redis-url", "redis://x"] }).setting).toBe("--redis-url");
  });

  it("keeps the ticket secret as it is", () => {
    expect(configOf({ env: { SLUICE_TICKET_SECRET: "hunter2" } }).ticketSecret).toBe("hunter2");
  });

  it("finds a key that no header can carry", () => {
    const error = refusal({ env: { OPENAI_API_KEY: "hunter2\nhunter2" } });
    expect(error.message).toBe("OPENAI_API_KEY: holds characters that an HTTP header cannot carry");
  });
});

describe("warnings", () => {
  it.each([
    ["SLUICE_MAX_CONCURENCY", "SLUICE_MAX_CONCURENCY is not a setting; did you mean SLUICE_MAX_CONCURRENCY?"],
    ["SLUICE_PORT", "SLUICE_PORT is not a setting; did you mean PORT?"],
    ["SLUICE_QQQQQQQQQQQQQQQQ", "SLUICE_QQQQQQQQQQQQQQQQ is not a setting"],
  ])("tell of %s", (name, warning) => {
    expect(read({ env: { [name]: "1" } }).warnings).toEqual([warning]);
    expect(read({ args: ["--check-config"], env: { [name]: "1" } }).warnings).toEqual([warning]);
  });

  it("leave alone what Kubernetes sets beside a service named sluice, and other programs' variables", () => {
    const links = {
      SLUICE_SERVICE_HOST: "10.0.0.1",
      SLUICE_PORT: "tcp://10.0.0.1:80",
      SLUICE_PORT_80_TCP_ADDR: "x",
    };
    expect(read({ env: { ...links, OPENAI_ORG_ID: "x", PATH: "y" } }).warnings).toEqual([]);
  });
});

describe("the pages", () => {
  it("are at most 100 columns wide", () => {
    for (const line of helpText().split("\n")) expect(line.length).toBeLessThanOrEqual(100);
  });

  it("show an example file that is valid", () => {
    const file = /\n( {2}\{\n.*?\n {2}\})\n/s.exec(helpText())?.[1];
    expect(configOf({ env: { OPENAI_API_KEY: "x" }, file }).upstreams).toHaveLength(2);
  });

  it("make a whole Markdown table", () => {
    const lines = settingsTable().trimEnd().split("\n");
    expect(lines).toHaveLength(2 + ROWS.length + SECRET_ROWS.length + OTHER_ROWS.length);
    for (const line of lines) expect(line.replaceAll("\\|", "").split("|")).toHaveLength(6);
  });
});

describe("whatever is given", () => {
  const names = [...ROWS.map(([env]) => env), ...SECRET_ROWS, ...OTHER_ROWS];
  const flags = [
    ...ROWS.map(([, , flag]) => flag),
    "--upstream",
    "--config",
    "--api-keys",
    "--help",
    "--check-config",
  ];
  const text = fc.oneof(
    fc.string(),
    fc.string({ unit: "binary" }),
    fc.constantFrom(...ROWS.map((row) => row[3])),
  );
  const word = fc.oneof(
    text,
    fc.constantFrom(...flags),
    fc.tuple(fc.constantFrom(...flags), text).map((pair) => pair.join("=")),
  );
  const env = fc.dictionary(fc.oneof(fc.constantFrom(...names), fc.string()), text);
  const members = fc.dictionary(
    fc.oneof(fc.constantFrom(...ROWS.map((row) => row[1]), "upstreams"), fc.string()),
    fc.jsonValue(),
  );
  const file = fc.oneof(
    fc.string(),
    members.map((value) => JSON.stringify(value)),
  );

  /** Everything that can be reached is frozen. */
  function expectFrozen(value: unknown): void {
    if (typeof value !== "object" || value === null) return;
    expect(Object.isFrozen(value)).toBe(true);
    for (const member of Object.values(value)) expectFrozen(member);
  }

  it("either gives a frozen configuration or one line that names a setting", () => {
    fc.assert(
      fc.property(fc.array(word, { maxLength: 4 }), env, file, (args, variables, json) => {
        try {
          const command = readCommand(args, variables, () => json);
          if ("config" in command) expectFrozen(command.config);
        } catch (error) {
          if (!(error instanceof ConfigError)) throw error;
          expect(error.message).toMatch(/^\P{Cc}+$/u);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it("never shows a secret", () => {
    const secret = fc.string({ minLength: 8 }).map((noise) => `hunter2${noise}`);
    const others = fc.dictionary(fc.constantFrom(...ROWS.map(([name]) => name)), fc.string(), { maxKeys: 2 });
    fc.assert(
      fc.property(
        fc.array(secret, { minLength: 4, maxLength: 4 }),
        others,
        fc.boolean(),
        (secrets, rest, none) => {
          const [key, keys, ticket, url] = secrets;
          const variables: NodeJS.ProcessEnv = {
            ...rest,
            OPENAI_API_KEY: key,
            SLUICE_API_KEYS: keys,
            SLUICE_TICKET_SECRET: ticket,
          };
          if (none) Object.assign(variables, { OPENAI_BASE_URL: `http://${url}@x`, SLUICE_AUTH: "none" });
          try {
            expect(read({ env: variables }).warnings.join()).not.toContain("hunter2");
          } catch (error) {
            if (!(error instanceof ConfigError)) throw error;
            expect(error.message).not.toContain("hunter2");
          }
        },
      ),
    );
  });
});
