import { describe, expect, it } from "vitest";
import { cycleIn, filesIn, type Import, importsOf, textOf } from "../support/imports.ts";

interface Room {
  /** Other rooms; `room/file` where only that file. `type:` before it: its types and nothing that runs. */
  readonly ours: readonly string[];
  /** Packages; `name in file` where only that file of the room may. Built-ins are open to all but the core. */
  readonly packages: readonly string[];
}

/** Who may import whom: DESIGN.md's table. What goes beyond it says why. */
const ROOMS: Readonly<Record<string, Room>> = {
  main: {
    // `sluice emulator` and `sluice bench` are commands of their own, and a fault of the upstream is told in the greeting.
    ours: [
      "config",
      "server",
      "emulator/index",
      "benchmark/index",
      "core/errors",
      "observe/terminal",
      "version",
    ],
    packages: ["pino"],
  },
  // The package: what a program gets that has the gateway inside it.
  index: {
    ours: ["config", "server", "routes/mounted", "version"],
    packages: ["type:fastify", "pino"],
  },
  version: { ours: [], packages: [] },
  // The table's "all" is less than it says: the composition needs no page and no client.
  server: {
    ours: [
      "config",
      "core",
      "dialect",
      "emulator/index",
      "metrics",
      "observe",
      "routes",
      "security",
      "store",
      "transport",
      "upstream",
    ],
    packages: ["type:fastify"],
  },
  config: { ours: [], packages: ["zod"] },
  core: { ours: [], packages: ["p-queue in admission"] },
  dialect: { ours: ["core"], packages: [] },
  upstream: {
    ours: ["core", "dialect"],
    // undici, which sends what the SDK has made, and a circuit breaker for an upstream's health.
    packages: [
      "openai in openai",
      "undici in transport",
      "undici in connector",
      "type:undici",
      "cockatiel in health",
    ],
  },
  transport: { ours: ["core"], packages: ["type:ws"] },
  routes: {
    // The HTTP face is where requests are authenticated, hence security. What the upstreams list and relay is asked of the
    // catalog, which the composition hands in: its type alone is known here.
    ours: ["core", "dialect", "transport", "security", "type:upstream/catalog"],
    packages: [
      "fastify",
      "@fastify/cors",
      "@fastify/websocket",
      "type:ws",
      "zod in messages",
      "canonicalize in request",
    ],
  },
  security: { ours: ["core/errors"], packages: ["jose in tickets"] },
  store: { ours: ["core"], packages: [] },
  metrics: { ours: ["core/ports"], packages: ["prom-client in board"] },
  // Log lines and traces: neither a logger nor an SDK is known here.
  observe: { ours: ["core/errors", "type:core/ports"], packages: ["@opentelemetry/api in traces"] },
  emulator: { ours: [], packages: [] },
  // It measures any server from outside, and knows nothing of this one but its protocol.
  benchmark: { ours: [], packages: ["undici in http", "ws in wire-websocket"] },
  client: { ours: [], packages: [] },
  // The gateway serves the packages' own files in place of the two that name them.
  web: { ours: ["client"], packages: ["marked in playground/marked", "dompurify in playground/purify"] },
};

const MAX_LINES = 300;

/** Built-ins that reach the network: the core knows no wire. */
const WIRES = ["node:http", "node:https", "node:http2", "node:net", "node:tls", "node:dgram"];

const files = filesIn("src");
const code = files.filter((file) => /\.(ts|js|mjs)$/.test(file));
const imports = code.flatMap((file) => importsOf(file));

/** `core` of `src/core/log.ts` and `config` of `src/config.ts`; with the file: `core/log`. */
const placeOf = (file: string): string => file.replace(/^src\//, "").replace(/\.\w+$/, "");
const roomOf = (file: string): string => placeOf(file).split("/")[0] ?? "";

function isAllowed({ from, to, isOurs, isType }: Import): boolean {
  const room = ROOMS[roomOf(from)];
  if (room === undefined) return false;
  const isNamed = (rule: string): boolean => {
    const [what, where] = rule.replace(/^type:/, "").split(" in ");
    if (rule.startsWith("type:") && !isType) return false;
    if (where !== undefined && placeOf(from) !== `${roomOf(from)}/${where}`) return false;
    return isOurs ? what === roomOf(to) || what === placeOf(to) : what === to;
  };
  if (isOurs) return roomOf(from) === roomOf(to) || room.ours.some(isNamed);
  return to.startsWith("node:") || room.packages.some(isNamed);
}

describe("the rooms", () => {
  it("are those of the table, and every file is in one", () => {
    expect(code.length).toBeGreaterThan(50);
    expect(code.filter((file) => ROOMS[roomOf(file)] === undefined)).toEqual([]);
  });

  it("import what the table allows, and nothing else", () => {
    const broken = imports.filter((each) => !isAllowed(each));
    expect(broken.map(({ from, to }) => `${from} -> ${to}`)).toEqual([]);
  });

  it("import only files that are there, by their whole names", () => {
    const unknown = imports.filter(({ to, isOurs }) => isOurs && !files.includes(to));
    expect(unknown.filter(({ to }) => to !== "package.json")).toEqual([]);
  });

  it("keep the wire out of the core", () => {
    const broken = imports.filter(({ from, to }) => roomOf(from) === "core" && WIRES.includes(to));
    expect(broken).toEqual([]);
  });

  it("keep the client to what every runtime has", () => {
    expect(imports.filter(({ from, isOurs }) => roomOf(from) === "client" && !isOurs)).toEqual([]);
  });

  it("need every exception that the table makes", () => {
    const rules = Object.entries(ROOMS).flatMap(([room, { ours, packages }]) =>
      [...ours, ...packages].map((rule) => ({ room, name: rule.replace(/^type:/, "").split(" in ")[0] })),
    );
    const isUsed = ({ room, name }: { room: string; name: string | undefined }): boolean =>
      imports.some(({ from, to, isOurs }) => {
        if (roomOf(from) !== room) return false;
        return isOurs ? name === roomOf(to) || name === placeOf(to) : name === to;
      });
    // The page loads the client by its address, not by an import.
    const unused = rules.filter((rule) => rule.room !== "web" && !isUsed(rule));
    expect(unused).toEqual([]);
  });
});

describe("the files", () => {
  it("import each other in no circle", () => {
    // Types are gone when the code runs: a circle of them is none.
    expect(cycleIn(imports.filter(({ isType }) => !isType))).toBeUndefined();
  });

  it("are short", () => {
    const long = files
      .filter((file) => /\.(ts|js|css|html)$/.test(file))
      .map((file) => ({ file, lines: textOf(file).split("\n").length - 1 }))
      .filter(({ lines }) => lines > MAX_LINES);
    expect(long).toEqual([]);
  });

  it.each([
    ["openai", "src/upstream/openai.ts"],
    ["p-queue", "src/core/admission.ts"],
    ["prom-client", "src/metrics/board.ts"],
    ["@opentelemetry/api", "src/observe/traces.ts"],
  ])("import %s in one place", (name, place) => {
    expect(imports.filter(({ to }) => to === name).map(({ from }) => from)).toEqual([place]);
  });
});

describe("the reading of imports", () => {
  const read = (text: string): string[] =>
    importsOf("src/core/x.ts", text).map(({ to, isType }) => (isType ? `type ${to}` : to));

  it.each([
    ['import a from "a";', ["a"]],
    ['import "side-effect";', ["side-effect"]],
    ['import * as b from "node:fs";', ["node:fs"]],
    ['import a, { b } from "./log.ts";', ["src/core/log.ts"]],
    ['import {\n  a,\n  type B,\n} from "../upstream/openai.ts";', ["src/upstream/openai.ts"]],
    ['import {\n  type A,\n  type B,\n} from "@scope/name/sub";', ["type @scope/name"]],
    ['import type { A } from "ws";', ["type ws"]],
    ['export { a } from "./a.ts";\nexport * from "./b.ts";', ["src/core/a.ts", "src/core/b.ts"]],
    ['export type { A } from "./a.ts";', ["type src/core/a.ts"]],
    ['const late = await import("late");', ["late"]],
    ["import a from 'single';", ["single"]],
    ['export const x = "text";\nconst from = "elsewhere";', []],
    ['// import a from "a";\n/* import b from "b"; */', []],
    ['const text = `\nnothing from "here"`;', []],
  ])("of %j", (text, found) => {
    expect(read(text)).toEqual(found);
  });

  it("finds a circle, and only a circle", () => {
    const edge = (from: string, to: string): Import => ({ from, to, isOurs: true, isType: false });
    const tree = [edge("a", "b"), edge("a", "c"), edge("b", "d"), edge("c", "d")];
    expect(cycleIn(tree)).toBeUndefined();
    expect(cycleIn([...tree, edge("d", "b")])).toEqual(["b", "d", "b"]);
  });
});
