/** After the compiler: what it does not copy, and the client in one file for pages. */
import { chmodSync, cpSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { rolldown } from "rolldown";

cpSync("src/web", "dist/web", { recursive: true });
// Its licence asks to go with it.
for (const name of [
  "swagger-ui.css",
  "swagger-ui-bundle.js",
  "swagger-ui-bundle.js.LICENSE.txt",
  "LICENSE",
  "NOTICE",
])
  cpSync(new URL(import.meta.resolve(`swagger-ui-dist/${name}`)), `dist/web/reference/${name}`);
chmodSync("dist/main.js", 0o755);

const CLIENT = "dist/web/client.js";
const bundle = await rolldown({ input: "dist/client/index.js" });
await bundle.write({ file: CLIENT, format: "esm", minify: true, comments: false });
await bundle.close();

const client = readFileSync(CLIENT);
console.log(`${CLIENT}: ${client.length} bytes, ${gzipSync(client, { level: 9 }).length} gzipped`);
