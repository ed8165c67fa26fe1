/** The documented tracing setup (docs/TRACING.md), run in a real gateway, and what it exports. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { GatewayProcess } from "./gateway.ts";

export interface SpanLine {
  readonly name: string;
  readonly kind: number;
  readonly trace: string;
  readonly id: string;
  readonly parent?: string;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly status: number;
  readonly events: readonly string[];
}

const DOCUMENT = new URL("../../docs/TRACING.md", import.meta.url);
/** Where imports find the project's packages, and nothing is kept. */
const CACHE = fileURLToPath(new URL("../../node_modules/.cache/", import.meta.url));

/** The module that the document has its reader write. */
export function documentedSetup(): string {
  const [, code] = /^```js tracing\.mjs\n([\s\S]*?)^```$/m.exec(readFileSync(DOCUMENT, "utf8")) ?? [];
  if (code === undefined) throw new Error("docs/TRACING.md shows no tracing.mjs");
  return code;
}

/** The same with spans as lines of JSON, which a test can read. */
export function setupWithLines(): string {
  const made = "const exporter = new ConsoleSpanExporter();";
  const code = documentedSetup();
  if (!code.includes(made)) throw new Error(`tracing.mjs has no ${made}`);
  return code.replace(made, LINES);
}

const LINES = `const exporter = {
  export(spans, done) {
    for (const span of spans) {
      const { name, kind, attributes, status, events } = span;
      const { traceId: trace, spanId: id } = span.spanContext();
      const parent = span.parentSpanContext?.spanId;
      const line = { name, kind, trace, id, parent, attributes, status: status.code, events: events.map((e) => e.name) };
      process.stdout.write("span " + JSON.stringify(line) + "\\n");
    }
    done({ code: 0 });
  },
  shutdown: async () => {},
};`;

export interface Setup {
  /** For NODE_OPTIONS. */
  readonly option: string;
  remove(): void;
}

export function writeSetup(code: string): Setup {
  mkdirSync(CACHE, { recursive: true });
  const folder = mkdtempSync(join(CACHE, "tracing-"));
  const file = join(folder, "tracing.mjs");
  writeFileSync(file, code);
  return {
    option: `--import ${pathToFileURL(file).href}`,
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

export const spansOf = (gateway: GatewayProcess): SpanLine[] =>
  gateway
    .output()
    .split("\n")
    .filter((line) => line.startsWith("span ") && line.endsWith("}"))
    .map((line) => JSON.parse(line.slice("span ".length)) as SpanLine);
