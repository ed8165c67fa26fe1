#!/usr/bin/env node
/** The command `sluice`: settings to a running gateway, signals to its end. */
import { readFileSync } from "node:fs";
import type { Logger } from "pino";
import { pino } from "pino";
import { type Command, type Config, ConfigError, readCommand } from "./config.ts";
import { asFault } from "./core/errors.ts";
import { runEmulator } from "./emulator/index.ts";
import { type Server, startServer } from "./server.ts";

const USAGE_EXIT = 2;
const FAILURE_EXIT = 1;

const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
  version: string;
};

async function main(args: readonly string[]): Promise<void> {
  if (args[0] === "emulator") return runEmulator(args.slice(1));
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
  const logger = newLogger(config);
  crashCleanly(logger);
  const server = await startServer(config, logger, version);
  stopOnSignals(server, logger);
  await greet(config, server);
}

function newLogger(config: Config): Logger {
  const options = { level: config.logLevel };
  if (!process.stdout.isTTY) return pino(options);
  return pino({ ...options, transport: { target: "pino-pretty", options: { ignore: "pid,hostname" } } });
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
  const answer = await server.probe().then(
    (models) => `reached, ${models.length === 1 ? "model" : "models"} ${listOf(models)}`,
    (thrown: unknown) => `not reached: ${asFault(thrown).message}`,
  );
  const [upstream] = server.upstreams;
  const model = config.defaultModel ?? (await server.probe().catch(() => []))[0] ?? "MODEL";
  const body = JSON.stringify({ prompt: "hello", model });
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
      `  curl -N ${server.url}/chat -H 'content-type: application/json' -H 'accept: text/plain' -d '${body}'`,
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
