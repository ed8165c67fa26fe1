/** A TCP proxy that cuts connections in mid-stream, as networks do: no HTTP of its own, so that the clients' is tested. */
import net from "node:net";

export interface CuttingProxy {
  /** `http://127.0.0.1:PORT`, in place of the target's. */
  readonly url: string;
  /** The heads of the requests that came, oldest first. */
  readonly requests: readonly string[];
  /**
   * For each request to come whose first line contains `part`: after so many bytes of its answer the connection is cut; once
   * the list is used up, none is.
   */
  cut(part: string, afterBytes: readonly number[]): void;
  /** How many connections were cut. */
  readonly cuts: number;
  close(): Promise<void>;
}

interface Plan {
  readonly part: string;
  readonly afterBytes: number[];
}

export async function startCuttingProxy(target: string): Promise<CuttingProxy> {
  const { hostname, port } = new URL(target);
  const requests: string[] = [];
  const sockets = new Set<net.Socket>();
  let plan: Plan = { part: "", afterBytes: [] };
  let cuts = 0;

  const server = net.createServer((client) => {
    const upstream = net.connect(Number(port), hostname);
    let left = Number.POSITIVE_INFINITY;
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.on("data", (bytes: Buffer) => {
      const text = bytes.toString("latin1");
      // Test clients send a request's head in one piece; what continues a body or a WebSocket is no head.
      if (/^[A-Z]+ \S+ HTTP\/1\.1\r\n/.test(text)) {
        requests.push(text.split("\r\n\r\n", 1)[0] ?? "");
        if (text.split("\r\n", 1)[0]?.includes(plan.part)) left = plan.afterBytes.shift() ?? left;
      }
      upstream.write(bytes);
    });
    upstream.on("data", (bytes: Buffer) => {
      if (bytes.length < left) {
        left -= bytes.length;
        client.write(bytes);
        return;
      }
      cuts += 1;
      upstream.destroy();
      client.write(bytes.subarray(0, left), () => client.destroy());
    });
  });

  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    requests,
    cut: (part, afterBytes) => {
      plan = { part, afterBytes: [...afterBytes] };
    },
    get cuts() {
      return cuts;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

/** The value of a header in a head that the proxy kept. */
export const headerIn = (head: string, name: string): string | undefined =>
  head
    .split("\r\n")
    .find((line) => line.toLowerCase().startsWith(`${name}: `))
    ?.slice(name.length + 2);
