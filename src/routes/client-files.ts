/** The client's own files, for pages of a gateway that runs from source; a built one has them all in `/client.js`. */
import { readdirSync, readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";

const FOLDER = new URL("../client/", import.meta.url);
const isSource = import.meta.url.endsWith(".ts");

/** By path: `/client/index.ts` and what it imports, as they call each other. */
export const CLIENT_FILES: Readonly<Record<string, URL>> = Object.fromEntries(
  (isSource ? readdirSync(FOLDER) : []).map((name) => [`/client/${name}`, new URL(name, FOLDER)]),
);

/** A file as a browser runs it: of TypeScript, what is left without its types. */
export function runnable(file: URL): Buffer {
  const bytes = readFileSync(file);
  return file.pathname.endsWith(".ts") ? Buffer.from(stripped(bytes.toString("utf8"))) : bytes;
}

/** Node warns that the function is an experiment of its own; who starts a gateway has no use for the word. */
function stripped(code: string): string {
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return stripTypeScriptTypes(code);
  } finally {
    process.emitWarning = emitWarning;
  }
}
