/** A TCP proxy that does to connections what bad networks do, by a seeded plan. It knows no HTTP but the upgrade's head. */
import net from "node:net";

export const FAULTS = ["none", "cut", "reset", "stall", "garbage", "broken", "refused"] as const;
export type FaultName = (typeof FAULTS)[number];

export interface ChaosProxy {
  readonly url: string;
  /** Where connections to come are led. */
  target: string;
  /** Whether connections to come meet faults. */
  isWild: boolean;
  /** How often each fault has acted. */
  readonly counts: Readonly<Record<FaultName, number>>;
  close(): Promise<void>;
}

/** Mulberry32: the same numbers for the same seed, on any machine. */
export function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** No text holds such bytes, no frame and no chunk begins with them. */
const NOISE = Buffer.alloc(600, 0xff);
const REFUSAL = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const isUpgrade = (head: Buffer): boolean => /^upgrade: websocket\r$/im.test(head.toString("latin1"));

interface Fault {
  readonly name: FaultName;
  /** It acts after so many bytes of the answers. */
  readonly after: number;
}

/** @param share of connections that meet a fault */
export async function startChaosProxy(target: string, seed: number, share: number): Promise<ChaosProxy> {
  const random = randomOf(seed);
  const counts = Object.fromEntries(FAULTS.map((name) => [name, 0])) as Record<FaultName, number>;
  const sockets = new Set<net.Socket>();

  const draw = (): Fault => {
    const names = FAULTS.slice(1);
    const name = random() < share ? names[Math.floor(random() * names.length)] : "none";
    // Most strike early, some after much.
    return { name: name ?? "none", after: Math.floor(random() ** 2 * 40_000) };
  };

  const server = net.createServer((client) => {
    const fault = proxy.isWild ? draw() : ({ name: "none", after: 0 } satisfies Fault);
    const { hostname, port } = new URL(proxy.target);
    const upstream = net.connect(Number(port), hostname);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      // Either side may break at any time; its close ends the other.
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        // What was passed on already still arrives.
        client.destroySoon();
        upstream.destroySoon();
      });
    }
    spoil(client, upstream, fault, () => counts[fault.name]++);
  });

  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const proxy: ChaosProxy = {
    url: `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    target,
    isWild: true,
    counts,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
  return proxy;
}

/** Passes bytes both ways until the fault's turn has come. */
function spoil(client: net.Socket, upstream: net.Socket, fault: Fault, onAct: () => void): void {
  let left = fault.name === "none" ? Number.POSITIVE_INFINITY : fault.after;
  let isWebSocket = false;
  let isOver = false;
  const act = (): void => {
    isOver = true;
    onAct();
    if (fault.name === "reset") client.resetAndDestroy();
    // A stalled connection stays open, and passes nothing more.
    else if (fault.name !== "stall") client.destroySoon();
  };
  if (fault.name === "none") onAct();
  client.once("data", (head: Buffer) => {
    isWebSocket = isUpgrade(head);
    if (fault.name === "refused" && isWebSocket) client.write(REFUSAL);
    else if (fault.name === "garbage") client.write(NOISE);
    else return;
    act();
  });
  client.on("data", (bytes: Buffer) => {
    if (!isOver) upstream.write(bytes);
  });
  upstream.on("data", (bytes: Buffer) => {
    if (isOver) return;
    if (bytes.length < left) {
      left -= bytes.length;
      client.write(bytes);
      return;
    }
    client.write(bytes.subarray(0, left));
    // In an event stream, noise might pass for text.
    if (fault.name === "broken" && isWebSocket) client.write(NOISE);
    act();
  });
}
