#!/usr/bin/env node
/** The command `sluice`: settings to a running gateway, signals to its end. */
import { setFlagsFromString } from "node:v8";
import type { Logger } from "pino";
import { pino } from "pino";
import { runBenchmark } from "./benchmark/index.ts";
import { type Command, type Config, ConfigError, readCommand } from "./config.ts";
import { asFault } from "./core/errors.ts";
import { runEmulator } from "./emulator/index.ts";
import { TERMINAL } from "./observe/terminal.ts";
import { type Server, startServer } from "./server.ts";
import { version } from "./version.ts";

const USAGE_EXIT = 2;
const FAILURE_EXIT = 1;

async function main(args: readonly string[]): Promise<void> {
  if (args[0] === "emulator") return runEmulator(args.slice(1));
  if (args[0] === "bench") return runBenchmark(args.slice(1));
  const command = read(args);
  if (command === undefined) return;
  if (command.kind === "help") return void process.stdout.write(command.text);
  if (command.kind === "version") return void process.stdout.write(`${version}\n`);
  for (const warning of command.warnings) process.stderr.write(`${warning}\n`);
  if (command.kind === "check") return void process.stdout.write("The configuration is valid.\n");
  await serve(command.config);
}

function read(args: readonly string[]): Command | undefined {
  try {
    return readCommand(args, process.env);
  } catch (thrown) {
    if (!(thrown instanceof ConfigError)) throw thrown;
    process.stderr.write(`${thrown.message}\n`);
    process.exitCode = USAGE_EXIT;
    return undefined;
  }
}

async function serve(config: Config): Promise<void> {
  // V8's young generation has grown while the modules were loaded, and would grow on with every stream. What an event leaves
  // there is garbage within a turn: more room buys nothing, and costs some 20 KB of memory for each stream.
  setFlagsFromString("--semi-space-growth-factor=1");
  const logger = newLogger(config);
  crashCleanly(logger);
  const server = await startServer(config, logger, version).catch((thrown: unknown) => {
    process.stderr.write(`${listenProblem(config, thrown)}\n`);
    process.exit(FAILURE_EXIT);
  });
  stopOnSignals(server, logger);
  await greet(config, server);
}

/** One line for a start that failed because of where it was to listen; any other fault is thrown again. */
function listenProblem({ host, port }: Config, thrown: unknown): string {
  const { syscall, code } = thrown as NodeJS.ErrnoException;
  if (syscall !== "listen" && syscall !== "getaddrinfo") throw thrown;
  if (code === "EADDRINUSE")
    return `PORT: ${port} on ${host} is in use by another process; choose another port`;
  if (code === "EACCES") return `PORT: ${port} on ${host} is not open to this user; choose one above 1023`;
  return `HOST: cannot listen on ${host}, port ${port} (${code})`;
}

function newLogger(config: Config): Logger {
  const options = { level: config.logLevel };
  if (!process.stdout.isTTY) return pino(options);
  return pino({ ...options, transport: { target: "pino-pretty", options: TERMINAL } });
}

/** An unexpected fault ends the process with its cause logged: a gateway in an unknown state must not limp on. */
function crashCleanly(logger: Logger): void {
  process.on("uncaughtException", (error) => {
    logger.fatal({ err: error }, "unexpected fault");
    process.exitCode = FAILURE_EXIT;
    logger.flush(() => process.exit(FAILURE_EXIT));
  });
}

/** The first signal drains; a second one exits at once. */
function stopOnSignals(server: Server, logger: Logger): void {
  let isStopping = false;
  const stop = (signal: NodeJS.Signals): void => {
    if (isStopping) process.exit(FAILURE_EXIT);
    isStopping = true;
    logger.info({ signal }, "draining");
    void server.drain().then(() => {
      logger.info("drained");
      process.exit(0);
    });
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
}

async function greet(config: Config, server: Server): Promise<void> {
  let models: readonly string[] = [];
  let answer: string;
  try {
    models = await server.probe();
    answer = `reached, ${models.length === 1 ? "model" : "models"} ${listOf(models)}`;
  } catch (thrown) {
    answer = `not reached: ${asFault(thrown).message}`;
  }
  const [upstream] = server.upstreams;
  const body = JSON.stringify({ prompt: "hello", model: config.defaultModel ?? models[0] ?? "MODEL" });
  // Keys are never printed: whoever tries it puts one of them in the place of KEY.
  const key = config.apiKeys.length === 0 ? "" : " -H 'authorization: Bearer KEY'";
  process.stdout.write(
    [
      `Sluice ${version}`,
      `  API         ${server.url}/v1`,
      `  playground  ${server.url}/`,
      `  metrics     ${server.url}/metrics`,
      `  upstream    ${upstream?.name} at ${upstream?.baseUrl} (${answer})`,
      `  limits      ${config.maxConcurrency} at once, ${config.maxQueue} waiting for at most ${config.queueTimeoutMs} ms`,
      "",
      "Try:",
      `  curl -N ${server.url}/chat -H 'content-type: application/json' -H 'accept: text/plain'${key} -d '${body}'`,
      "",
      "",
    ].join("\n"),
  );
}

const MOST_LISTED = 3;

function listOf(models: readonly string[]): string {
  const shown = models.slice(0, MOST_LISTED).join(", ");
  return models.length > MOST_LISTED
    ? `${shown} and ${models.length - MOST_LISTED} more`
    : shown || "none listed";
}

await main(process.argv.slice(2));
