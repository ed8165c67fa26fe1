/** The composition: the only file that knows every room. Adding an upstream, a dialect, a store or a route is a line here. */
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { FastifyBaseLogger } from "fastify";
import type { Config, UpstreamConfig } from "./config.ts";
import { Gateway } from "./core/gateway.ts";
import { chat } from "./dialect/chat.ts";
import { type Emulator, startEmulator } from "./emulator/index.ts";
import { Metrics } from "./metrics/metrics.ts";
import { Observers } from "./observe/observers.ts";
import { passage } from "./observe/passage.ts";
import { RequestLog } from "./observe/request-log.ts";
import { registeredTraces } from "./observe/traces.ts";
import { buildWeb, type Web } from "./routes/web.ts";
import { Keys } from "./security/keys.ts";
import { Tickets } from "./security/tickets.ts";
import { MemoryStore } from "./store/memory.ts";
import { CLOSE } from "./transport/websocket.ts";
import { Catalog } from "./upstream/catalog.ts";
import { OpenAiUpstream } from "./upstream/openai.ts";
import { newDispatcher } from "./upstream/transport.ts";

export interface Server {
  /** Where it listens: `http://127.0.0.1:8000`. */
  readonly url: string;
  /** Base URLs of the upstreams by name, the demo's included. */
  readonly upstreams: readonly { readonly name: string; readonly baseUrl: string }[];
  /** Asks the upstream for its models. Rejects with the fault where it cannot be asked. */
  probe(): Promise<readonly string[]>;
  /** Refuses new work, lets what runs end within the shutdown time, then closes everything. Safe to call again. */
  drain(): Promise<void>;
  /** Closes everything now. */
  close(): Promise<void>;
}

/** After the last generation has ended, at least so long for the last bytes to leave. Milliseconds. */
const FLUSH_MS = 2000;
/** So long for a peer to answer a close. Milliseconds. */
const CLOSE_PATIENCE_MS = 1000;
/** How often it is looked whether readers are done. Milliseconds. */
const LOOK_MS = 20;

/** Starts the gateway. Rejects where it cannot listen. */
export async function startServer(
  config: Config,
  logger: FastifyBaseLogger,
  version: string,
): Promise<Server> {
  const house = await openHouse(config, logger, version);
  const listenTextResolver = (address: string): string => `listening on ${address}`;
  try {
    await house.web.app.listen({ host: config.host, port: config.port, listenTextResolver });
  } catch (thrown) {
    await house.close();
    throw thrown;
  }
  return { ...house, url: addressOf(house.web) };
}

/** All of the gateway but a listener of its own. */
export interface OpenHouse extends Omit<Server, "url"> {
  readonly web: Web;
}

/** @param base the path under which another server has it; empty for the root */
export async function openHouse(
  config: Config,
  logger: FastifyBaseLogger,
  version: string,
  base = "",
): Promise<OpenHouse> {
  const demo = config.upstreams.some((upstream) => upstream.demo) ? await startEmulator() : undefined;
  const upstreams = config.upstreams.map((upstream) =>
    upstream.demo && demo ? { ...upstream, baseUrl: demo.url } : upstream,
  );
  const core = buildCore(config, upstreams, version, logger);
  const keys = new Keys(config.apiKeys);
  const web = await buildWeb({
    house: {
      gateway: core.gateway,
      catalog: core.catalog,
      limits: config,
      additions: { defaultModel: () => core.catalog.defaultModel(), includeUsage: config.includeUsage },
      traceFields: core.traceFields,
      base,
    },
    scrape: core.metrics,
    keys,
    tickets: new Tickets(keys, config.ticketSecret),
    browsers: { ...browserRules(config) },
    areMetricsOpen: config.metricsAuth === "none",
    maxConnections: config.maxConnections,
    logger,
  });
  return {
    ...lifecycle(config, core, web, demo),
    web,
    upstreams,
    probe: () => core.catalog.models(),
  };
}

interface Core {
  readonly gateway: Gateway;
  readonly catalog: Catalog;
  readonly metrics: Metrics;
  readonly traceFields: readonly string[];
  release(): Promise<void>;
}

function buildCore(
  config: Config,
  upstreams: readonly UpstreamConfig[],
  version: string,
  logger: FastifyBaseLogger,
): Core {
  const store = new MemoryStore(config);
  const dispatcher = newDispatcher(config.upstreamHttp2);
  const metrics = new Metrics({
    version,
    keyNames: config.apiKeys.map(({ name }) => name),
    models: namedModels(config),
    upstreams: upstreams.map(({ name }) => name),
    levels: () => gateway.levels,
    isWell: (name) => entries.some(({ upstream }) => upstream.name === name && upstream.isWell),
    onFault: (fault) => logger.warn({ err: fault }, "a metric was given a value it cannot take"),
  });
  const onFault = (thrown: unknown): void => logger.warn({ err: thrown }, "the tracing SDK threw");
  const tracing = registeredTraces({ version, upstreams, onFault }) ?? passage;
  const observer = new Observers(metrics, [new RequestLog(logger), tracing]);
  const entries = upstreams.map((upstream) => ({
    models: upstream.models,
    upstream: new OpenAiUpstream({
      name: upstream.name,
      baseUrl: upstream.baseUrl,
      ...(upstream.apiKey === undefined ? {} : { apiKey: upstream.apiKey }),
      maxConcurrency: upstream.maxConcurrency,
      firstTokenTimeoutMs: upstream.firstTokenTimeoutMs,
      totalTimeoutMs: upstream.totalTimeoutMs,
      stallTimeoutMs: upstream.stallTimeoutMs ?? config.stallTimeoutMs,
      maxEventBytes: config.logMaxBytes,
      dialects: [chat],
      dispatcher,
      observer,
    }),
  }));
  const catalog = new Catalog(entries, config.defaultModel, (models) => metrics.know(models));
  const gateway = new Gateway(config, {
    observer,
    store,
    upstreams: (model) => catalog.serving(model),
  });
  const release = async (): Promise<void> => {
    store.close();
    metrics.close();
    await dispatcher.destroy();
    // The last spans ended a moment ago; a collector that does not answer holds nobody up.
    if (tracing.flush !== undefined) await Promise.race([tracing.flush(), sleep(FLUSH_MS)]);
  };
  return { gateway, catalog, metrics, traceFields: tracing.fields, release };
}

function lifecycle(
  config: Config,
  core: Core,
  web: Web,
  demo: Emulator | undefined,
): Pick<Server, "drain" | "close"> {
  let closing: Promise<void> | undefined;
  const close = (by = performance.now() + FLUSH_MS): Promise<void> =>
    (closing ??= closeAll(core, web, demo, by));
  const drain = async (): Promise<void> => {
    const until = performance.now() + config.shutdownTimeoutMs;
    core.gateway.close();
    for (const session of [...web.sessions]) session.drain();
    await core.gateway.drain(config.shutdownTimeoutMs);
    // A reader that lags behind reads on to the end, for as long as there is time.
    const by = Math.max(until, performance.now() + FLUSH_MS);
    while (performance.now() < by && [...web.sessions].some(({ isReading }) => isReading))
      await sleep(LOOK_MS);
    for (const session of [...web.sessions]) session.close(CLOSE.restart, "restart");
    await close(by);
  };
  return { drain, close: () => close() };
}

/** @param by monotonic milliseconds at which readers that have not taken their last bytes are dropped */
async function closeAll(core: Core, web: Web, demo: Emulator | undefined, by: number): Promise<void> {
  const { app, sessions } = web;
  const late = setTimeout(() => app.server.closeAllConnections(), Math.max(0, by - performance.now()));
  const unanswered = setTimeout(() => {
    for (const session of [...sessions]) session.terminate();
  }, CLOSE_PATIENCE_MS);
  // A connection that is kept alive falls idle only after its last answer.
  const idle = setInterval(() => app.server.closeIdleConnections(), LOOK_MS);
  await app.close();
  await dismiss(web, by);
  clearTimeout(late);
  clearTimeout(unanswered);
  clearInterval(idle);
  await demo?.close();
  await core.release();
}

/** What is answered on another server's connections is no connection of the app's: it closes without waiting for them. */
async function dismiss({ guests }: Web, by: number): Promise<void> {
  while (guests.size > 0 && performance.now() < by) await sleep(LOOK_MS);
  for (const response of guests) response.destroy();
}

/** Models that the configuration names outright; patterns name none. */
function namedModels(config: Config): string[] {
  const named = config.upstreams.flatMap(({ models }) => models).filter((model) => !model.includes("*"));
  return config.defaultModel === undefined ? named : [...named, config.defaultModel];
}

const browserRules = (config: Config) => ({
  corsOrigins: config.corsOrigins,
  ...(config.publicUrl === undefined ? {} : { publicUrl: config.publicUrl }),
  isKeyless: config.apiKeys.length === 0,
});

/** Listening on all addresses is no address to call: a keyless gateway does not even answer to that name. */
const WILDCARDS = new Map([
  ["0.0.0.0", "127.0.0.1"],
  ["::", "::1"],
]);

function addressOf(web: Web): string {
  const { address, family, port } = web.app.server.address() as AddressInfo;
  const host = WILDCARDS.get(address) ?? address;
  return `http://${family === "IPv6" ? `[${host}]` : host}:${port}`;
}
