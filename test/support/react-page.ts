/** A page made of a document's React component, as a bundler makes it. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";

const ROOT = new URL("../../", import.meta.url);
/** Where the sources would lie: their imports are looked up from here. */
const SOURCE = fileURLToPath(new URL("test/e2e/", ROOT));
const MAIN = `${SOURCE}document-main.jsx`;
const COMPONENT = `${SOURCE}document-component.jsx`;

/** The first block of that language in a document. */
export function codeOf(document: string, language: string): string {
  const text = readFileSync(new URL(document, ROOT), "utf8");
  const code = new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "m").exec(text)?.[1];
  if (code === undefined) throw new Error(`${document} has no block of ${language}`);
  return code;
}

/** A script that shows `name`, which `component` exports, in the element `root`. */
export async function bundled(component: string, name: string): Promise<string> {
  const sources = new Map([
    [COMPONENT, component],
    [
      MAIN,
      `import { createRoot } from "react-dom/client"; import { ${name} } from ${JSON.stringify(COMPONENT)};
       createRoot(document.getElementById("root")).render(<${name} />);`,
    ],
  ]);
  const bundle = await rolldown({
    input: MAIN,
    platform: "browser",
    // What says "use client" says so to servers, of which there is none.
    onLog: (level, log, tell) => {
      if (log.code !== "MODULE_LEVEL_DIRECTIVE") tell(level, log);
    },
    transform: { define: { "process.env.NODE_ENV": '"production"' } },
    plugins: [
      {
        name: "document",
        resolveId: (id) => (sources.has(id) ? id : null),
        load: (id) => sources.get(id) ?? null,
      },
    ],
  });
  const { output } = await bundle.generate({ format: "esm" });
  await bundle.close();
  return output[0].code;
}
