import { parseArgs } from "node:util";
import { type EmulatorOptions, startEmulator } from "./server.ts";

const HELP = `sluice emulator: an OpenAI-compatible upstream that says what it is told to.

  --port N            where it listens (default 9000; 0: any free port)
  --host HOST         default 127.0.0.1
  --corpus DIR        recorded streams, for requests that ask for a replay
  --model NAME        default sluice-demo
  --first-token-ms N  delay before the first token, where a request's script sets none
  --pace-ms N         delay between tokens, where a request's script sets none
  --help

Requests script their answer with an "emulator" member, such as {"emulator": {"tokens": 100, "pace_ms": 20}}.
Counters and recent requests: GET /emulator/stats, GET /emulator/requests.
`;

const FLAGS = {
  port: { type: "string" },
  host: { type: "string" },
  corpus: { type: "string" },
  model: { type: "string" },
  "first-token-ms": { type: "string" },
  "pace-ms": { type: "string" },
  help: { type: "boolean" },
} as const;

const MOST_MS = 86_400_000;

/**
 * `sluice emulator`: serves until SIGINT or SIGTERM. Sets the exit code 2 where the arguments are wrong, 1 where it cannot
 * listen, with one line on standard error; never throws for either.
 * @param args what follows `emulator` on the command line
 */
export async function runEmulator(args: string[]): Promise<void> {
  const options = attempt(() => readArguments(args));
  if (options instanceof Error) return fail(2, options);
  if (options === "help") return void process.stdout.write(HELP);
  try {
    const emulator = await startEmulator(options);
    const stopped = signalled();
    console.log(`Emulated upstream on ${emulator.url}`);
    await stopped;
    await emulator.close();
  } catch (thrown) {
    fail(1, thrown);
  }
}

function readArguments(args: string[]): EmulatorOptions | "help" {
  const { values } = parseArgs({ args, options: FLAGS, strict: true, allowPositionals: false });
  if (values.help === true) return "help";
  const firstToken = numberOf("--first-token-ms", values["first-token-ms"], MOST_MS);
  const pace = numberOf("--pace-ms", values["pace-ms"], MOST_MS);
  return {
    port: numberOf("--port", values.port, 65_535) ?? 9000,
    ...(values.host === undefined ? {} : { host: values.host }),
    ...(values.corpus === undefined ? {} : { corpus: values.corpus }),
    ...(values.model === undefined ? {} : { model: values.model }),
    defaults: {
      ...(firstToken === undefined ? {} : { first_token_ms: firstToken }),
      ...(pace === undefined ? {} : { pace_ms: pace }),
    },
  };
}

function numberOf(flag: string, text: string | undefined, most: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (/^\d+$/.test(text) && value <= most) return value;
  throw new Error(`${flag} must be a whole number from 0 to ${most}, not ${JSON.stringify(text)}`);
}

function signalled(): Promise<void> {
  return new Promise((resolve) => {
    process.once("SIGINT", () => resolve());
    process.once("SIGTERM", () => resolve());
  });
}

function attempt<T>(work: () => T): T | Error {
  try {
    return work();
  } catch (thrown) {
    return thrown instanceof Error ? thrown : new Error(String(thrown));
  }
}

function fail(code: number, thrown: unknown): void {
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  process.stderr.write(`sluice emulator: ${message.split("\n")[0]}\n`);
  process.exitCode = code;
}
