/** A Dockerfile as far as ours goes: stages of instructions, each run on this machine in a folder of its own. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, readFileSync } from "node:fs";
import { basename, join, posix } from "node:path";

export interface Instruction {
  readonly name: string;
  /** `--from=build` and the like, by name. */
  readonly flags: ReadonlyMap<string, string>;
  /** What follows the flags. */
  readonly text: string;
}

export interface Stage {
  readonly base: string;
  readonly name: string | undefined;
  readonly instructions: readonly Instruction[];
}

export function parseDockerfile(text: string): readonly Stage[] {
  const lines = text
    .split("\n")
    .filter((line) => !/^\s*#/.test(line))
    .join("\n")
    .replace(/\\\n/g, " ")
    .split("\n")
    .filter((line) => line.trim() !== "");
  const stages: { base: string; name: string | undefined; instructions: Instruction[] }[] = [];
  for (const line of lines) {
    const [, name = "", rest = ""] = /^(\w+)\s+(.*)$/.exec(line) ?? [];
    if (name === "FROM") {
      const [, base = "", stage] = /^(\S+)(?: AS (\S+))?$/.exec(rest) ?? [];
      stages.push({ base, name: stage, instructions: [] });
    } else stages.at(-1)?.instructions.push({ name, ...flagged(rest) });
  }
  return stages;
}

function flagged(rest: string): Omit<Instruction, "name"> {
  const flags = new Map<string, string>();
  let text = rest;
  for (let found = FLAG.exec(text); found !== null; found = FLAG.exec(text)) {
    flags.set(found[1] as string, found[2] as string);
    text = text.slice(found[0].length);
  }
  return { flags, text };
}

const FLAG = /^--([a-z-]+)=(\S+)\s+/;

export const all = ({ instructions }: Stage, name: string): readonly Instruction[] =>
  instructions.filter((each) => each.name === name);

/** The last one's text. Throws where there is none. */
export function only(stage: Stage, name: string): string {
  const found = all(stage, name).at(-1);
  if (found === undefined) throw new Error(`the stage has no ${name}`);
  return found.text;
}

/** `a="b c" d=e` */
export const pairs = (text: string): Record<string, string> =>
  Object.fromEntries([...text.matchAll(/([\w.]+)=(?:"([^"]*)"|(\S+))/g)].map((m) => [m[1], m[2] ?? m[3]]));

/** The exec form of a command; the shell form through a shell. */
export const commandOf = (text: string): string[] =>
  text.startsWith("[") ? (JSON.parse(text) as string[]) : ["sh", "-c", text];

/** The one line of a `.dockerignore` that excludes everything, and the names that it lets through. */
export function contextOf(ignore: string): (path: string) => boolean {
  const [first, ...rest] = ignore.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  if (first !== "*" || rest.some((line) => !line.startsWith("!")))
    throw new Error("an unknown .dockerignore");
  const kept = rest.map((line) => line.slice(1));
  return (path) => kept.some((name) => path === name || path.startsWith(`${name}/`));
}

export interface Places {
  /** The repository. */
  readonly context: string;
  readonly isInContext: (path: string) => boolean;
  /** Stages that have been built: the folder that stands for their WORKDIR. */
  readonly built: Map<string, string>;
}

/** Does the stage's COPY and RUN in a folder that stands for its WORKDIR, which every path must be inside of. */
export async function buildStage(stage: Stage, folder: string, places: Places): Promise<void> {
  const root = only(stage, "WORKDIR");
  for (const instruction of stage.instructions) {
    if (instruction.name === "COPY") copy(instruction, root, folder, places);
    if (instruction.name === "RUN") await run(commandOf(instruction.text), folder);
  }
  if (stage.name !== undefined) places.built.set(stage.name, folder);
}

function copy({ flags, text }: Instruction, root: string, folder: string, places: Places): void {
  const words = text.split(/\s+/);
  const to = words.pop() as string;
  const from = flags.get("from");
  const source = from === undefined ? places.context : places.built.get(from);
  if (source === undefined) throw new Error(`no stage ${from}`);
  for (const word of words) {
    const path = from === undefined ? word : posix.relative(root, word);
    if (path.startsWith("..")) throw new Error(`${word} is outside of ${root}`);
    if (from === undefined && !places.isInContext(path)) throw new Error(`.dockerignore keeps ${path} out`);
    const target = join(folder, to.endsWith("/") ? join(to, basename(path)) : to);
    mkdirSync(join(target, ".."), { recursive: true });
    cpSync(join(source, path), target, { recursive: true, verbatimSymlinks: true });
  }
}

/** At the lowest priority; npm asks its cache first. Resolves with standard output; rejects with all that was said where it fails. */
export async function run(command: readonly string[], folder: string): Promise<string> {
  const child = spawn("nice", ["-n", "19", ...command], {
    cwd: folder,
    env: { ...process.env, npm_config_prefer_offline: "true", npm_config_loglevel: "error" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const said: Buffer[] = [];
  const output: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => output.push(chunk));
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => said.push(chunk));
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`${command.join(" ")} ended with ${code}: ${Buffer.concat(said)}`);
  return String(Buffer.concat(output));
}

export const readText = (file: string): string => readFileSync(file, "utf8");
