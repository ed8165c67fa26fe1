/** nginx and HAProxy as docs/DEPLOYMENT.md configures them, as processes of their own on loopback. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WebSocket } from "ws";
import { startGateway, type TestGateway } from "./gateway.ts";
import type { TlsRequest } from "./tls-client.ts";
import { WsClient } from "./ws-client.ts";

const DOCUMENT = new URL("../../docs/DEPLOYMENT.md", import.meta.url);

/** The one fenced block of that language. */
export function blockOf(language: string, containing = ""): string {
  const blocks = [...readFileSync(DOCUMENT, "utf8").matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)]
    .filter(([, named, text]) => named === language && text?.includes(containing))
    .map(([, , text]) => text as string);
  if (blocks.length !== 1) throw new Error(`${blocks.length} blocks of ${language} in the document`);
  return blocks[0] as string;
}

export type Change = readonly [from: string | RegExp, to: string];

/** The text with every change made. Throws where one finds nothing: the document has moved on. */
export function changed(text: string, changes: readonly Change[]): string {
  return changes.reduce((before, [from, to]) => {
    const after = before.replaceAll(typeof from === "string" ? from : new RegExp(from, "gm"), () => to);
    if (after === before) throw new Error(`the document has nothing like ${from}`);
    return after;
  }, text);
}

export interface ProxyPlan {
  /** Where it takes TLS. */
  readonly port: number;
  /** The gateway's address. */
  readonly gateway: string;
  /** Waits for no longer than this, in place of the document's idle limits. */
  readonly idleS?: number;
}

export interface ProxyKind {
  readonly name: "nginx" | "HAProxy";
  readonly binary: string;
  readonly aptPackage: string;
  /** Writes its configuration into the folder; answers its arguments. */
  configure(folder: string, plan: ProxyPlan & { readonly plainPort: number }): string[];
}

const isRoot = process.getuid?.() === 0;

const nginx: ProxyKind = {
  name: "nginx",
  binary: "nginx",
  aptPackage: "nginx-light",
  configure(folder, { port, plainPort, gateway, idleS }) {
    const site = changed(blockOf("nginx"), [
      ["server 127.0.0.1:8000;", `server ${new URL(gateway).host};`],
      ["listen 80;", `listen 127.0.0.1:${plainPort};`],
      ["listen 443 ssl http2;", `listen 127.0.0.1:${port} ssl http2;`],
      [/^ *listen \[::\].*\n/, ""],
      ["/etc/ssl/sluice/fullchain.pem", join(folder, "chain.pem")],
      ["/etc/ssl/sluice/privkey.pem", join(folder, "key.pem")],
      ...(idleS === undefined ? [] : [[/proxy_read_timeout \w+;/, `proxy_read_timeout ${idleS}s;`] as const]),
    ]);
    const places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    for (const place of places) mkdirSync(join(folder, place));
    // What the distribution's own nginx.conf holds, with every path in the folder.
    const main = [
      ...(isRoot ? ["user root;"] : []),
      "daemon off;",
      "worker_processes 2;",
      `pid ${folder}/nginx.pid;`,
      "error_log stderr;",
      "events { worker_connections 512; }",
      "http {",
      "access_log off;",
      ...places.map((place) => `${place}_temp_path ${folder}/${place};`),
      `include ${folder}/sluice.conf;`,
      "}",
    ];
    writeFileSync(join(folder, "sluice.conf"), site);
    writeFileSync(join(folder, "nginx.conf"), `${main.join("\n")}\n`);
    return ["-p", folder, "-c", join(folder, "nginx.conf"), "-e", "stderr"];
  },
};

const haproxy: ProxyKind = {
  name: "HAProxy",
  binary: "haproxy",
  aptPackage: "haproxy",
  configure(folder, { port, plainPort, gateway, idleS }) {
    const short = (name: string): Change => [new RegExp(`timeout ${name} \\w+`), `timeout ${name} ${idleS}s`];
    const config = changed(blockOf("haproxy"), [
      [/^ *(user|group) haproxy\n/, ""],
      // More sockets than a test may open.
      ["maxconn 20000", "maxconn 500"],
      ["server sluice 127.0.0.1:8000", `server sluice ${new URL(gateway).host}`],
      ["bind :80\n", `bind 127.0.0.1:${plainPort}\n`],
      ["bind :443 ", `bind 127.0.0.1:${port} `],
      ["/etc/haproxy/sluice.pem", join(folder, "both.pem")],
      ...(idleS === undefined ? [] : [short("client"), short("server"), short("tunnel")]),
    ]);
    writeFileSync(join(folder, "haproxy.cfg"), config);
    return ["-db", "-f", join(folder, "haproxy.cfg")];
  },
};

export const PROXIES: readonly ProxyKind[] = [nginx, haproxy];

/** Users other than root often look for no servers. */
const ENV = { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin:/usr/local/sbin` };

const runs = (binary: string, flag: string): boolean => spawnSync(binary, [flag], { env: ENV }).status === 0;

/** What is missing on this machine to run it; empty where nothing is. */
export function missingFor({ binary, aptPackage }: ProxyKind): string {
  const missing = [
    ...(runs(binary, "-v") ? [] : [aptPackage]),
    ...(runs("openssl", "version") ? [] : ["openssl"]),
  ];
  return missing.length === 0 ? "" : ` (skipped; apt-get install ${missing.join(" ")})`;
}

/** For `localhost`, signed by itself. */
export function makeCertificate(folder: string): Buffer {
  const [key, chain] = [join(folder, "key.pem"), join(folder, "chain.pem")];
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  execFileSync("openssl", ["req", "-x509", ...kind, "-keyout", key, "-out", chain, ...subject], {
    stdio: "ignore",
  });
  const certificate = readFileSync(chain);
  writeFileSync(join(folder, "both.pem"), Buffer.concat([certificate, readFileSync(key)]));
  return certificate;
}

/** Below the range from which systems take the ports of outgoing connections: nothing takes it before the proxy does. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const server = net.createServer().listen(port, "127.0.0.1");
    const isFree = await once(server, "listening").then(
      () => true,
      () => false,
    );
    if (!isFree) continue;
    server.close();
    await once(server, "close");
    return port;
  }
}

export interface Proxy {
  /** `https://localhost:PORT` */
  readonly url: string;
  readonly plainUrl: string;
  /** What its certificate is to be checked against. */
  readonly ca: Buffer;
  stop(): Promise<void>;
}

/** Starts it and waits until it takes connections. */
export async function startProxy(kind: ProxyKind, plan: ProxyPlan): Promise<Proxy> {
  const folder = mkdtempSync(join(tmpdir(), "sluice-proxy-"));
  const ca = makeCertificate(folder);
  const plainPort = await freePort();
  const child = spawn(kind.binary, kind.configure(folder, { ...plan, plainPort }), {
    env: ENV,
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said += chunk));
  const exited = once(child, "exit");
  const stop = async (): Promise<void> => {
    child.kill("SIGTERM");
    await exited;
    rmSync(folder, { recursive: true });
  };
  while (!(await accepts(plan.port))) {
    if (isOver(child)) {
      await stop();
      throw new Error(`${kind.name} did not start: ${said}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return { url: `https://localhost:${plan.port}`, plainUrl: `http://localhost:${plainPort}`, ca, stop };
}

const isOver = ({ exitCode, signalCode }: ChildProcess): boolean => exitCode !== null || signalCode !== null;

async function accepts(port: number): Promise<boolean> {
  const socket = net.connect(port, "127.0.0.1");
  const isTaken = await once(socket, "connect").then(
    () => true,
    () => false,
  );
  socket.destroy();
  return isTaken;
}

export const KEY = { authorization: "Bearer sesame" };

/** A POST with the key. */
export const posted = (body: unknown, headers: Readonly<Record<string, string>> = {}): TlsRequest => ({
  method: "POST",
  body,
  headers: { ...KEY, ...headers },
});

export interface Front extends Proxy {
  readonly gateway: TestGateway;
  close(): Promise<void>;
}

/** A gateway as the document sets it up, with keys and a public address, and the proxy in front of it. */
export async function startFront(
  kind: ProxyKind,
  env: Readonly<Record<string, string>> = {},
  idleS?: number,
): Promise<Front> {
  const port = await freePort();
  const settings = {
    SLUICE_API_KEYS: "alice:sesame",
    SLUICE_PUBLIC_URL: `https://localhost:${port}`,
    ...env,
  };
  const gateway = await startGateway({ env: settings });
  const proxy = await startProxy(kind, {
    port,
    gateway: gateway.url,
    ...(idleS === undefined ? {} : { idleS }),
  });
  return {
    ...proxy,
    gateway,
    async close() {
      await proxy.stop();
      await gateway.close();
    },
  };
}

export const wsUrlOf = ({ url }: Proxy): string => `${url.replace(/^http/, "ws")}/v1/ws`;

/** A WebSocket through the proxy, once it is ready. */
export async function openSocket(front: Proxy): Promise<WsClient> {
  const client = new WsClient(new WebSocket(wsUrlOf(front), ["sluice.v1"], { ca: front.ca, headers: KEY }));
  await client.next(({ type }) => type === "ready");
  return client;
}
