/** Sluice inside another program: with a listener of its own, or as a plugin of a Fastify app. */
import type { FastifyBaseLogger, FastifyInstance } from "fastify";
import { pino } from "pino";
import { readSettings, type Settings } from "./config.ts";
import { mountIn } from "./routes/mounted.ts";
import { openHouse, type Server, startServer } from "./server.ts";
import { version } from "./version.ts";

export { type ApiKey, ConfigError, type Settings, type UpstreamSettings } from "./config.ts";
export { version };

export interface GatewayOptions {
  /** Where it logs. Without one: JSON lines on standard output at `logLevel`, or, as a plugin, the app's own log. */
  readonly logger?: FastifyBaseLogger;
}

/** Nothing runs before `listen()` or the plugin's registration. One of them, once. */
export interface Gateway {
  /** Where it listens itself: `http://127.0.0.1:8000`. Before `listen()`, and as a plugin, undefined. */
  readonly url: string | undefined;
  /**
   * Listens on `host` and `port`; resolves with its address.
   * @throws ConfigError where `host` is open to other machines without a key, or an upstream is the gateway itself
   */
  listen(): Promise<string>;
  /** For `app.register(gateway.plugin, { prefix: "/llm" })`. The app's `close()` drains it. */
  readonly plugin: (app: FastifyInstance, options?: { readonly prefix?: string }) => Promise<void>;
  /** The models that the upstreams list, asked for now. Rejects where none can be asked. */
  models(): Promise<readonly string[]>;
  /** Refuses new work, lets what runs end within `shutdownTimeoutMs`, then closes everything. */
  drain(): Promise<void>;
  /** Closes everything, at most 2 s later. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * A gateway with these settings; without any, on the demo upstream.
 * @throws ConfigError where a setting cannot be honoured
 */
export function createGateway(settings: Settings = {}, { logger }: GatewayOptions = {}): Gateway {
  const { config, refusePlace } = readSettings(settings, process.env);
  let opening: Promise<Omit<Server, "url">> | undefined;
  let url: string | undefined;
  const once = <H extends Omit<Server, "url">>(open: () => Promise<H>): Promise<H> => {
    if (opening !== undefined) throw new Error("this gateway has been started already; create another one");
    const house = open();
    opening = house;
    return house;
  };
  const stop = async (how: "drain" | "close"): Promise<void> => {
    // One that never opened has told whoever started it so.
    const house = await opening?.catch(() => undefined);
    url = undefined;
    await house?.[how]();
  };
  return {
    get url() {
      return url;
    },
    async listen() {
      refusePlace();
      const house = await once(() =>
        startServer(config, logger ?? pino({ level: config.logLevel }), version),
      );
      return (url = house.url);
    },
    async plugin(app) {
      refuseHost(app);
      const house = await once(() => openHouse(config, logger ?? app.log, version, app.prefix));
      app.addHook("preClose", () => stop("drain"));
      await mountIn(app, house.web);
    },
    async models() {
      if (opening === undefined) throw new Error("this gateway has not been started");
      return (await opening).probe();
    },
    drain: () => stop("drain"),
    close: () => stop("close"),
    [Symbol.asyncDispose]: () => stop("close"),
  };
}

function refuseHost({ initialConfig, prefix }: FastifyInstance): void {
  if (initialConfig.http2 === true) throw new Error("Sluice cannot be part of an HTTP/2 app");
  if (/[:*(]/.test(prefix)) throw new Error("Sluice needs a prefix without parameters");
}
