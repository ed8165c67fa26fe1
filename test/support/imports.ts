/** What the files of a tree import, read from their text: the compiler's own API is no longer to be had from JavaScript. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

export interface Import {
  /** The importing file, from the root of the repository, with slashes. */
  readonly from: string;
  /** What is imported: a file like `from`, or a package or built-in by its name. */
  readonly to: string;
  readonly isOurs: boolean;
  /** It is gone when the code runs. */
  readonly isType: boolean;
}

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** Every file below a folder of the repository. */
export function filesIn(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)).split(sep).join("/"))
    .sort();
}

export const textOf = (file: string): string => readFileSync(join(ROOT, file), "utf8");

/** Statements at the start of a line, up to their specifier; and `import(...)` anywhere. */
const STATEMENT = /^(?:import|export)\b([^;"']*?)(?:\bfrom\s*)?(["'])([^"'\n]+)\2/gm;
const DYNAMIC = /\bimport\s*\(\s*(["'`])([^"'`\n]+)\1/g;

export function importsOf(file: string, text = textOf(file)): Import[] {
  const code = text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
  const statements = [...code.matchAll(STATEMENT)]
    // `export const x = "..."` is no import: between the keyword and a specifier stand only names, or nothing.
    .filter(([whole, between]) => /\bfrom\s*["']/.test(whole) || (between ?? "").trim() === "")
    .map(([, between, , specifier]) => importOf(file, specifier ?? "", isTypeOnly(between ?? "")));
  const dynamic = [...code.matchAll(DYNAMIC)].map(([, , specifier]) =>
    importOf(file, specifier ?? "", false),
  );
  return [...statements, ...dynamic];
}

function importOf(from: string, specifier: string, isType: boolean): Import {
  const isOurs = specifier.startsWith(".");
  const to = isOurs ? posix.normalize(posix.join(dirname(from), specifier)) : packageOf(specifier);
  return { from, to, isOurs, isType };
}

/** `import type ...`, or braces in which every name is a type. */
function isTypeOnly(between: string): boolean {
  if (/^\s*type\b/.test(between)) return true;
  const names = /^\s*\{([^}]*)\}\s*$/.exec(between)?.[1];
  if (names === undefined) return false;
  const each = names.split(",").filter((name) => name.trim() !== "");
  return each.length > 0 && each.every((name) => /^\s*type\s/.test(name));
}

/** The package of a specifier: `@fastify/cors` of `@fastify/cors/x`. */
function packageOf(specifier: string): string {
  if (specifier.startsWith("node:")) return specifier;
  const [scope, name] = specifier.split("/");
  return scope?.startsWith("@") ? `${scope}/${name}` : (scope ?? specifier);
}

/** The first cycle among the imports, as the files along it; none where there is none. */
export function cycleIn(imports: readonly Import[]): string[] | undefined {
  const next = new Map<string, string[]>();
  for (const { from, to, isOurs } of imports) if (isOurs) next.set(from, [...(next.get(from) ?? []), to]);
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): string[] | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return undefined;
    for (const other of next.get(file) ?? []) {
      const cycle = visit(other, [...path, file]);
      if (cycle !== undefined) return cycle;
    }
    done.add(file);
    return undefined;
  };
  for (const file of next.keys()) {
    const cycle = visit(file, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}
