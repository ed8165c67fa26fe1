import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { settingsTable } from "../../src/config.ts";
import { ERRORS } from "../../src/core/errors.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { closeAll, make } from "../support/metrics.ts";

const ROOT = new URL("../../", import.meta.url);
const DOCUMENTS = ["README.md", "PROTOCOL.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];
const PAGES = [
  ...DOCUMENTS,
  "SECURITY.md",
  "bench/README.md",
  ...readdirSync(new URL("docs/", ROOT))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`),
];
const read = (name: string): string => readFileSync(new URL(name, ROOT), "utf8");

/** The text of a document without its code, where a bracket is no link. */
const prose = (name: string): string => read(name).replace(/^```[\s\S]*?^```$/gm, "");

/** A heading's anchor, as GitHub makes it where no other heading is the same. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");

const anchorsOf = (name: string): string[] =>
  [...prose(name).matchAll(/^#+ (.+)$/gm)].map(([, heading]) => anchorOf(heading as string));

/** What a relative link of a document lacks: its file, or its anchor there; undefined where nothing is missing. */
function lackOf(name: string, link: string): string | undefined {
  const [path, anchor] = link.split("#");
  const file = path === "" ? name : decodeURI(new URL(path as string, `file:///${name}`).pathname.slice(1));
  if (!existsSync(new URL(file, ROOT))) return file;
  if (anchor === undefined || !file.endsWith(".md")) return undefined;
  return anchorsOf(file).includes(anchor) ? undefined : `${file}#${anchor}`;
}

test("the settings of docs/SETTINGS.md are those of the code", () => {
  const [, table] = /<!-- settings -->\n([\s\S]*)<!-- \/settings -->/.exec(read("docs/SETTINGS.md")) ?? [];
  expect(table).toBe(settingsTable());
});

describe("the README", () => {
  it("starts the package of this version", () => {
    const { name, version } = JSON.parse(read("package.json")) as { name: string; version: string };
    expect(read("README.md")).toContain(`npx --package=./${name}-${version}.tgz ${name}\n`);
  });

  it("tells the score of docs/SCORECARD.md", () => {
    const score = /^\*\*(\d+ of \d+) honest\.\*\*$/m.exec(read("docs/SCORECARD.md"))?.[1];
    expect(read("README.md")).toContain(`[${score}](docs/SCORECARD.md)`);
  });
});

describe.each(PAGES)("%s", (name) => {
  it("links only to what is there", () => {
    const links = [...prose(name).matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link as string);
    const lacking = links.filter((link) => !/^https?:/.test(link)).map((link) => lackOf(name, link));
    expect(lacking.filter((lack) => lack !== undefined)).toEqual([]);
  });

  it("has each footnote that it refers to, and refers to each that it has", () => {
    const defined = [...prose(name).matchAll(/^\[\^([\w-]+)\]:/gm)].map(([, mark]) => mark);
    const used = [...prose(name).matchAll(/\[\^([\w-]+)\](?!:)/g)].map(([, mark]) => mark);
    expect([...new Set(used)].sort()).toEqual(defined.sort());
  });

  it("names only files that are there", () => {
    const named = [...prose(name).matchAll(/`((?:src|test|bench)\/[\w./-]+\.\w+)`/g)].map(([, path]) => path);
    expect(named.filter((path) => !existsSync(new URL(path as string, ROOT)))).toEqual([]);
  });

  it("knows nothing of the machine it was written on", () => {
    expect(read(name)).not.toContain(fileURLToPath(ROOT));
  });
});

test("every error code stands in PROTOCOL.md with its status, its type and whether to retry", () => {
  const rows = [...read("PROTOCOL.md").matchAll(/^\| `(\w+)` \| (\d{3}) \| (\w+) \| (no|yes|after)/gm)];
  const documented = rows.map(([, code, status, type, retry]) => [code, Number(status), type, retry]);
  const built = Object.entries(ERRORS).map(([code, { status, type, retry }]) => [code, status, type, retry]);
  expect(documented.sort()).toEqual(built.sort());
});

test("every metric stands in PROTOCOL.md with its type", async () => {
  const table = /^## 8\. Metrics$([\s\S]*?)^## 9/m.exec(read("PROTOCOL.md"))?.[1] ?? "";
  const rows = [...table.matchAll(/^\| (`sluice_.*?) \| (\w+) \|/gm)];
  const documented = rows.flatMap(([, names, type]) =>
    [...(names as string).matchAll(/sluice_\w+/g)].map(([name]) => `${name} ${type}`),
  );
  const text = await make().render();
  closeAll();
  const rendered = [...text.matchAll(/^# TYPE (sluice_\w+ \w+)$/gm)].map(([, line]) => line);
  expect(documented.sort()).toEqual(rendered.sort());
});

test("no document names a metric that does not exist", async () => {
  const text = await make().render();
  closeAll();
  const known = new Set([...text.matchAll(/^# TYPE (\w+) /gm)].map(([, name]) => name));
  const named = DOCUMENTS.flatMap((name) => [...read(name).matchAll(/\bsluice_[a-z_]+[a-z]\b/g)]);
  expect(named.map(([name]) => name).filter((name) => !known.has(name))).toEqual([]);
});

describe("openapi.json", () => {
  type Operation = { operationId: string; responses: Record<string, unknown> };
  interface Description {
    readonly openapi: string;
    readonly info: { readonly version: string };
    readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  }
  const text = read("src/web/openapi.json");
  const description = JSON.parse(text) as Description;
  const operations = Object.entries(description.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })),
  );
  let gateway: TestGateway;

  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway.close());

  /** One file of each folder of files. */
  const FILES: Readonly<Record<string, string>> = {
    "/playground/{file}": "/playground/answer.js",
    "/status/{file}": "/status/panels.js",
    "/reference/{file}": "/reference/swagger-ui.css",
    "/client/{file}": "/client/index.ts",
  };
  const ask = (method: string, path: string): Promise<Response> =>
    fetch(gateway.url + (FILES[path] ?? path).replace("{model}", "sluice-demo").replace("{id}", "gen_none"), {
      method,
    });

  it("is of the package's version", () => {
    expect(description.openapi).toMatch(/^3\.1\./);
    expect(description.info.version).toBe((JSON.parse(read("package.json")) as { version: string }).version);
  });

  it("refers only to what it holds", () => {
    const references = [...text.matchAll(/"\$ref": "#\/([^"]+)"/g)].map(([, path]) => path as string);
    const find = (path: string): unknown =>
      path
        .split("/")
        .reduce<unknown>((value, name) => (value as Record<string, unknown>)?.[name], description);
    expect(references.length).toBeGreaterThan(100);
    expect(references.filter((path) => find(path) === undefined)).toEqual([]);
  });

  it("gives every operation a name of its own, and an answer", () => {
    const names = operations.map(({ operation }) => operation.operationId);
    expect(new Set(names).size).toBe(names.length);
    expect(operations.filter(({ operation }) => Object.keys(operation.responses).length === 0)).toEqual([]);
  });

  it("describes only routes that are there", async () => {
    for (const { path, method, operation } of operations) {
      const answer = await ask(method, path);
      const body = await answer.text();
      const where = `${method} ${path}: ${answer.status} ${body.slice(0, 200)}`;
      expect(body, where).not.toMatch(/"code":"(not_found|method_not_allowed)"/);
      const documented = Object.keys(operation.responses);
      expect(documented.includes(String(answer.status)) || documented.includes("4XX"), where).toBe(true);
    }
  });

  it("describes every method that its paths take", async () => {
    for (const path of Object.keys(description.paths)) {
      const answer = await ask("PUT", path);
      await answer.text();
      const allowed = (answer.headers.get("allow") ?? "").split(", ").filter((method) => method !== "HEAD");
      const documented = Object.keys(description.paths[path] ?? {}).map((method) => method.toUpperCase());
      if (answer.status === 405) expect(documented.sort(), path).toEqual(allowed.sort());
    }
  });

  it("describes every route of PROTOCOL.md", () => {
    const headings = [...read("PROTOCOL.md").matchAll(/^### 2\.\d+ (.*)$/gm)].flatMap(([, heading]) => [
      ...(heading as string).matchAll(/`(GET|POST) (\/\S*)`/g),
    ]);
    const routes = headings.map(([, method, path]) => `${method} ${path}`);
    expect(routes.length).toBeGreaterThan(10);
    const described = operations.map(({ method, path }) => `${method} ${path}`);
    expect(routes.filter((route) => !described.includes(route))).toEqual([]);
  });
});
