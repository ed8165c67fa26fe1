/** The reference page: this API's description as Swagger UI shows it, from files that the gateway serves itself. */
import { readFile } from "node:fs/promises";
import type { FastifyInstance } from "fastify";

const WEB = new URL("../web/", import.meta.url);
const isSource = import.meta.url.endsWith(".ts");

const own = (name: string) => (): URL => new URL(name, WEB);
/** Of Swagger UI: from its package where the gateway runs from source; a built one has it beside the page. */
const library = (name: string) => (): URL =>
  isSource ? new URL(import.meta.resolve(`swagger-ui-dist/${name}`)) : new URL(`reference/${name}`, WEB);

interface LateFile {
  readonly file: () => URL;
  readonly type: string;
}

const FILES: Readonly<Record<string, LateFile>> = {
  "/openapi.json": { file: own("openapi.json"), type: "application/json" },
  "/reference": { file: own("reference.html"), type: "text/html; charset=utf-8" },
  "/reference.css": { file: own("reference.css"), type: "text/css; charset=utf-8" },
  "/reference.js": { file: own("reference.js"), type: "text/javascript; charset=utf-8" },
  "/reference/swagger-ui.css": { file: library("swagger-ui.css"), type: "text/css; charset=utf-8" },
  "/reference/swagger-ui-bundle.js": {
    file: library("swagger-ui-bundle.js"),
    type: "text/javascript; charset=utf-8",
  },
};

export const REFERENCE_PATHS: readonly string[] = Object.keys(FILES);

/** @param pageHeaders what every page's files have */
export function referenceRoutes(app: FastifyInstance, pageHeaders: Readonly<Record<string, string>>): void {
  for (const [url, { file, type }] of Object.entries(FILES)) {
    const content = late(file);
    app.route({
      method: ["GET", "HEAD"],
      url,
      handler: async (_request, reply) => {
        const bytes = await content();
        return reply
          .headers({ ...pageHeaders, "content-type": type, "cache-control": "no-cache" })
          .send(bytes);
      },
    });
  }
}

/** Read when it is first asked for, once: two megabytes that most gateways are never asked for. */
function late(file: () => URL): () => Promise<Buffer> {
  let content: Promise<Buffer> | undefined;
  return () => {
    content ??= readFile(file()).catch((thrown: unknown) => {
      content = undefined;
      throw thrown;
    });
    return content;
  };
}
