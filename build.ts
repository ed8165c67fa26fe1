/** After the compiler: what it does not copy. */
import { chmodSync, cpSync } from "node:fs";

cpSync("src/web", "dist/web", { recursive: true });
chmodSync("dist/main.js", 0o755);
