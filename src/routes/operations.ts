/** What operators and browsers ask for: health, metrics, the playground and the API's description. */
import type { FastifyInstance, FastifyReply } from "fastify";
import { Fault } from "../core/errors.ts";
import { CLIENT_FILES, runnable } from "./client-files.ts";
import { type House, refuseOthers } from "./house.ts";
import { REFERENCE_PATHS, referenceRoutes } from "./reference.ts";

export interface Scrape {
  readonly contentType: string;
  render(): Promise<string>;
}

const WEB = new URL("../web/", import.meta.url);
const HTML = "text/html; charset=utf-8";
const CSS = "text/css; charset=utf-8";
const SCRIPT = "text/javascript; charset=utf-8";

const own = (name: string): URL => new URL(name, WEB);
/** A file of a package, wherever that is installed. */
const packaged = (name: string): URL => new URL(import.meta.resolve(name));

type File = readonly [file: URL, type: string];

/** The status page's parts, each at its own path below `/status/`. */
const STATUS_PARTS = ["card", "exposition", "figures", "outcomes", "panels", "plot", "units", "window"];

/** The playground's, below `/playground/`. */
const PLAYGROUND_PARTS = [
  ...["answer", "blocks", "clipboard", "column", "commands", "conversation", "dom", "figures", "gateway"],
  ...["markdown", "parameters", "prose", "reading", "record", "seams", "store", "trace"],
];
const PLAYGROUND_STYLES = ["answer", "conversation", "facts", "parameters", "prose"];

const FILES: Readonly<Record<string, File>> = {
  "/": [own("index.html"), HTML],
  "/playground.css": [own("playground.css"), CSS],
  "/playground.js": [own("playground.js"), SCRIPT],
  ...Object.fromEntries(
    PLAYGROUND_PARTS.map((name): [string, File] => [
      `/playground/${name}.js`,
      [own(`playground/${name}.js`), SCRIPT],
    ]),
  ),
  ...Object.fromEntries(
    PLAYGROUND_STYLES.map((name): [string, File] => [
      `/playground/${name}.css`,
      [own(`playground/${name}.css`), CSS],
    ]),
  ),
  "/playground/marked.js": [packaged("marked"), SCRIPT],
  "/playground/purify.js": [packaged("dompurify"), SCRIPT],
  "/client.js": [own("client.js"), SCRIPT],
  ...Object.fromEntries(
    Object.entries(CLIENT_FILES).map(([path, file]): [string, File] => [path, [file, SCRIPT]]),
  ),
  "/status": [own("status.html"), HTML],
  "/status.css": [own("status.css"), CSS],
  "/status.js": [own("status.js"), SCRIPT],
  ...Object.fromEntries(
    STATUS_PARTS.map((name): [string, File] => [`/status/${name}.js`, [own(`status/${name}.js`), SCRIPT]]),
  ),
  "/status/panels.css": [own("status/panels.css"), CSS],
  "/status/uplot.js": [packaged("uplot/dist/uPlot.iife.min.js"), SCRIPT],
  "/status/uplot.css": [packaged("uplot/dist/uPlot.min.css"), CSS],
};

/** Paths that need no key: health, the page and its files, the description. */
export const OPEN_PATHS: ReadonlySet<string> = new Set([
  "/livez",
  "/readyz",
  "/healthz",
  ...Object.keys(FILES),
  ...REFERENCE_PATHS,
]);
export const HEALTH_PATHS: ReadonlySet<string> = new Set(["/livez", "/readyz", "/healthz"]);

/** The page runs its own files and talks to its own gateway; nothing else. */
const PAGE_HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
};

export function operationRoutes(app: FastifyInstance, house: House, scrape: Scrape): void {
  const method = ["GET", "HEAD"];
  for (const url of ["/livez", "/healthz"]) app.route({ method, url, handler: () => ({ status: "ok" }) });
  app.route({ method, url: "/readyz", handler: (_request, reply) => ready(house, reply) });
  app.route({
    method: "GET",
    url: "/metrics",
    handler: async (_request, reply) => {
      reply.header("content-type", scrape.contentType);
      return scrape.render();
    },
  });
  for (const [url, [file, type]] of Object.entries(FILES)) {
    const content = runnable(file);
    app.route({
      method,
      url,
      handler: (_request, reply) =>
        reply.headers({ ...PAGE_HEADERS, "content-type": type, "cache-control": "no-cache" }).send(content),
    });
  }
  referenceRoutes(app, PAGE_HEADERS);
  for (const url of OPEN_PATHS) refuseOthers(app, url, method);
  refuseOthers(app, "/metrics", ["GET"]);
}

function ready(house: House, reply: FastifyReply): { status: string } {
  if (!house.gateway.isDraining) return { status: "ready" };
  reply.code(503).header("retry-after", "1");
  throw new Fault("draining", { retryAfterS: 1 });
}
