/** The files of docs/examples, run as the programs and served as the pages that they are. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const ROOT = new URL("../../", import.meta.url);
const FOLDER = new URL("docs/examples/", ROOT);
const FROM_SOURCE = new URL("./client-from-source.ts", import.meta.url).href;
/** Where running TypeScript is an experiment of Node's, it says so. */
const QUIET = "--disable-warning=ExperimentalWarning";

export const documentText = (): string => readFileSync(new URL("docs/EXAMPLES.md", ROOT), "utf8");
export const exampleText = (name: string): string => readFileSync(new URL(name, FOLDER), "utf8");

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly child: ChildProcess;
  /** What it has printed so far. */
  stdout(): string;
  readonly ended: Promise<Ran>;
}

/** @param command the program that runs the file, and its own arguments */
export function start(
  command: readonly string[],
  file: string,
  url: string,
  args: readonly string[] = [],
): Running {
  const [program = "", ...before] = command;
  const child = spawn(program, [...before, fileURLToPath(new URL(file, FOLDER)), ...args], {
    env: { PATH: process.env["PATH"] ?? "", SLUICE_URL: url },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const ended = once(child, "close").then(([code]) => ({ code: code as number | null, stdout, stderr }));
  return { child, stdout: () => stdout, ended };
}

export const NODE: readonly string[] = [process.execPath];
export const NODE_WITH_CLIENT: readonly string[] = [process.execPath, QUIET, "--import", FROM_SOURCE];

/** The script of the React page, made by the command of docs/EXAMPLES.md. */
export async function builtAsDocumented(): Promise<string> {
  const [, command = "", target = ""] = /^ {4}(npx rolldown .*--file) (\S+)$/m.exec(documentText()) ?? [];
  const folder = mkdtempSync(join(tmpdir(), "sluice-react-"));
  try {
    // Into the page's folder for its reader, who has it served from there; elsewhere for a test.
    const file = join(folder, target.split("/").at(-1) ?? "");
    await promisify(execFile)("sh", ["-c", `${command} "$0"`, file], { cwd: fileURLToPath(ROOT) });
    return readFileSync(file, "utf8");
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export interface PageServer {
  readonly url: string;
  close(): Promise<void>;
}

/** Serves texts by their paths, from an origin that is not the gateway's. */
export async function servePages(pages: Readonly<Record<string, string>>): Promise<PageServer> {
  const server = createServer((request, response) => {
    const [path = ""] = (request.url ?? "").split("?");
    const text = pages[path];
    const type = path.endsWith(".js") ? "text/javascript" : "text/html";
    response.writeHead(text === undefined ? 404 : 200, { "content-type": `${type}; charset=utf-8` });
    response.end(text);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
