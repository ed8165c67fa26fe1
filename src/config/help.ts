/** The settings as pages: for `--help` and for docs/SETTINGS.md. */
import { flagOf, GROUPS, ROWS, type Setting, shownDefault } from "./settings.ts";

const WIDTH = 100;
const INDENT = 32;

const INTRODUCTION = `Sluice: a streaming gateway for language models. One generation, many readers, resumable over
Server-Sent Events and WebSocket. It stands between an OpenAI-compatible server and its clients.

Usage:
  sluice [flags]               start the gateway; without any flag, on the built-in demo upstream
  sluice emulator [flags]      start only an OpenAI-compatible upstream that says what it is told to
  sluice bench [flags] URL     measure an OpenAI-compatible server, through Sluice or not
                               Each command has a page of its own: sluice bench --help

  -h, --help                   this page
  -v, --version                the version
      --check-config           read the settings, say whether they are valid, and exit

Examples:
  sluice                                                   the demo: no key, no server, no network
  sluice --upstream ollama                                 Ollama on this machine
  OPENAI_API_KEY=... sluice                                OpenAI
  sluice --upstream vllm --port 8001                       vLLM, which has port 8000 itself
  sluice --upstream http://gpu-1:8000/v1 --max-concurrency 64 --key-max-concurrency 8
  SLUICE_API_KEYS=web:...,batch:... sluice --host 0.0.0.0  for other machines: with keys, behind TLS
  sluice --config sluice.json --check-config               several upstreams: see the end

Then open http://127.0.0.1:8000/ for the playground, or try the curl that the start prints.

Settings: each is a flag, a variable of the environment, or a member of the config file; the first
of these that is set counts. An empty variable counts as unset. Secrets have no flag. A flag
without a value is turned off by --flag=false.
`;

const CLOSING = `Config file (strict JSON, any setting in camelCase):
  {
    "maxConcurrency": 64,
    "upstreams": [
      { "name": "gpu", "baseUrl": "http://gpu:8000/v1", "models": ["qwen*"], "maxConcurrency": 8 },
      { "name": "openai", "baseUrl": "https://api.openai.com/v1", "keyVariable": "OPENAI_API_KEY" }
    ]
  }
  An upstream has name, baseUrl and, where wanted, keyVariable (the variable that holds its key),
  models (patterns with *; none means all), maxConcurrency, firstTokenTimeoutMs, stallTimeoutMs and
  totalTimeoutMs. The first that serves a model is preferred.

Signals: the first SIGTERM or SIGINT drains: new work is refused, and what runs goes on to its end
for at most SLUICE_SHUTDOWN_TIMEOUT_MS. A second one exits at once.

Exit codes: 0 after a drain; 1 where it cannot listen, after a second signal or an unexpected fault;
2 where a setting cannot be honoured. One line on standard error says which, and why.
`;

/** The page of `sluice --help`, at most 100 columns wide. */
export function helpText(): string {
  const groups = GROUPS.map(([heading, settings]) => {
    const entries = Object.values(settings).map(entry);
    return `${heading}:\n${entries.join("")}`;
  });
  return [INTRODUCTION, ...groups, CLOSING].join("\n");
}

/** The Markdown table of docs/SETTINGS.md. */
export function settingsTable(): string {
  const rows = ROWS.map(([, setting]) => [
    code(setting.env),
    setting.secret === true ? "" : code(usage(setting)),
    /^(unset|none|made at start)$/.test(shownDefault(setting))
      ? shownDefault(setting)
      : code(shownDefault(setting)),
    setting.meaning,
  ]);
  const lines = [["setting", "flag", "default", "meaning"], ["---", "---", "---", "---"], ...rows];
  return lines.map((cells) => `| ${cells.map(cell).join(" | ")} |\n`).join("");
}

function entry(setting: Setting<unknown>): string {
  const name = setting.secret === true ? `${setting.env} (no flag)` : usage(setting);
  const origin = setting.secret === true ? "" : `${setting.env}, `;
  const text = wrap(`${setting.meaning.replaceAll("`", "")}\n[${origin}default ${shownDefault(setting)}]`);
  const margin = " ".repeat(INDENT);
  const first = name.length + 3 > INDENT ? `  ${name}\n${margin}` : `  ${name}`.padEnd(INDENT);
  return `${first}${text.join(`\n${margin}`)}\n`;
}

function usage(setting: Setting<unknown>): string {
  return `--${flagOf(setting)} ${setting.argument}`.trimEnd();
}

function wrap(text: string): readonly string[] {
  return text.split("\n").flatMap((paragraph) => {
    const lines = [""];
    for (const word of paragraph.split(" ")) {
      const last = lines.length - 1;
      const longer = `${lines[last]} ${word}`.trimStart();
      if (longer.length <= WIDTH - INDENT) lines[last] = longer;
      else lines.push(word);
    }
    return lines;
  });
}

const code = (text: string): string => `\`${text}\``;
const cell = (text: string): string => text.replaceAll("|", "\\|");
