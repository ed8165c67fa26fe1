/** What stands beside Sluice: nothing at all, nginx, a bare pipe, and the obvious gateway. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { firstMessage, start } from "../processes.ts";
import type { Rig } from "../rig.ts";
import type { Running, Subject } from "./subject.ts";

export const sse = { wire: "sse", perConnection: 1 } as const;
const host = "127.0.0.1";

export const direct: Subject = {
  name: "direct",
  title: "nothing between",
  ...sse,
  async start({ upstream }) {
    return { host, port: upstream.port, pid: undefined, countsCalls: false, stop: async () => {} };
  },
};

/** A Node server of this folder, which is told the upstream's port and tells its own. */
async function startServer(file: string, { upstream }: Rig): Promise<Running> {
  const path = fileURLToPath(new URL(`servers/${file}`, import.meta.url));
  const args = [path, String(upstream.port)];
  const pinned = start({ command: process.execPath, args, place: "subject", talks: true });
  const { port } = (await firstMessage(pinned)) as { port: number };
  return { host, port, pid: pinned.pid, countsCalls: true, stop: () => pinned.stop() };
}

export const pipe: Subject = {
  name: "pipe",
  title: "Node pipe",
  ...sse,
  start: (rig) => startServer("pipe.ts", rig),
};

export const obvious: Subject = {
  name: "obvious",
  title: "obvious gateway",
  ...sse,
  start: (rig) => startServer("obvious.ts", rig),
};

/** Writes to many readers, and nothing else. */
export const bare: Subject = {
  name: "bare",
  title: "bare writes",
  ...sse,
  start: (rig) => startServer("bare.ts", rig),
};

/** One process, so that its processor time is one pid's. */
const nginxConfig = (folder: string, port: number, upstream: number): string => `
daemon off; master_process off; worker_processes 1; pid ${folder}/nginx.pid; error_log ${folder}/error.log;
worker_rlimit_nofile 20000;
events { worker_connections 9000; }
http {
  access_log off;
  client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
  upstream bench { server ${host}:${upstream}; keepalive 64; }
  server {
    listen ${host}:${port} backlog=4096;
    location / {
      proxy_pass http://bench; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_read_timeout 600s;
    }
  }
}
`;

export const nginx: Subject = {
  name: "nginx",
  title: "nginx",
  ...sse,
  missing() {
    return spawnSync("nginx", ["-v"]).error === undefined ? undefined : "nginx is not installed";
  },
  async start({ upstream }) {
    const folder = mkdtempSync(join(tmpdir(), "bench-nginx-"));
    const port = await freePort();
    writeFileSync(join(folder, "nginx.conf"), nginxConfig(folder, port, upstream.port));
    const args = ["-p", folder, "-c", join(folder, "nginx.conf"), "-e", join(folder, "error.log")];
    const pinned = start({ command: "nginx", args, place: "subject" });
    await listening(port, () => pinned.output());
    return {
      host,
      port,
      pid: pinned.pid,
      countsCalls: false,
      async stop() {
        await pinned.stop();
        rmSync(folder, { recursive: true, force: true });
      },
    };
  },
};

export async function freePort(): Promise<number> {
  const server = net.createServer().listen({ host, port: 0 });
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const LISTEN_MS = 10_000;

/** @throws Error with its output where nothing listens on the port in time */
export async function listening(port: number, output: () => string): Promise<void> {
  const deadline = performance.now() + LISTEN_MS;
  while (!(await canConnect(port))) {
    if (performance.now() > deadline) throw new Error(`nothing listens: ${output()}`);
    await sleep(50);
  }
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
