import { spawnSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type GatewayProcess, metricOf, startProcess, until } from "../support/gateway.ts";
import {
  eventLine,
  type Http2Script,
  type Http2Upstream,
  startHttp2Upstream,
} from "../support/http2-upstream.ts";
import { post } from "../support/requests.ts";

const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;

interface House {
  readonly upstream: Http2Upstream;
  readonly gateway: GatewayProcess;
  ask(script: Http2Script, signal?: AbortSignal): Promise<string>;
  close(): Promise<void>;
}

async function open(upstream: Http2Upstream, env: Record<string, string> = {}): Promise<House> {
  const gateway = await startProcess({
    LOG_LEVEL: "silent",
    OPENAI_BASE_URL: upstream.url,
    NODE_EXTRA_CA_CERTS: upstream.trust,
    ...env,
  });
  return {
    upstream,
    gateway,
    async ask(script, signal) {
      const body = {
        model: "h2",
        stream: true,
        messages: [{ role: "user", content: JSON.stringify(script) }],
      };
      const answer = await fetch(`${gateway.url}/v1/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
        ...(signal === undefined ? {} : { signal }),
      });
      return answer.text();
    },
    async close() {
      await gateway.stop();
      await upstream.close();
    },
  };
}

const whole = (script: Http2Script): string =>
  Array.from({ length: script.events }, (_, n) => eventLine(n, script.bytes)).join("");
const many = <T>(count: number, make: (n: number) => T): T[] =>
  Array.from({ length: count }, (_, n) => make(n));
const codeIn = (text: string): unknown => /"code":"(\w+)"/.exec(text)?.[1];

describe.skipIf(!hasOpenssl)("an upstream that speaks HTTP/2 over TLS (skipped without openssl)", () => {
  let house: House;
  beforeAll(async () => {
    house = await open(await startHttp2Upstream());
  });
  afterAll(() => house.close());

  it("carries many streams on few connections, each whole and byte for byte", async () => {
    const { seen, sessions } = house.upstream;
    const scripts = many(200, (n) => ({ events: 5 + (n % 30), gapMs: n % 4, bytes: 8 + 40 * (n % 7) }));
    const texts = await Promise.all(scripts.map((script) => house.ask(script)));
    texts.forEach((text, n) => {
      expect(text).toContain(whole(scripts[n] as Http2Script));
      expect(text.endsWith("data: [DONE]\n\n")).toBe(true);
    });
    expect(seen).toMatchObject({ h1: 0, h2: 200, open: 0 });
    expect(seen.most).toBeGreaterThan(1);
    expect(sessions.made).toBeLessThan(50);
  });

  it("a stream that bursts does not keep the others from ending", async () => {
    const big = { events: 2000, bytes: 4000 };
    const small = { events: 20, gapMs: 1 };
    const [burst, ...others] = await Promise.all([house.ask(big), ...many(20, () => house.ask(small))]);
    expect(burst).toContain(whole(big));
    for (const text of others) expect(text).toContain(whole(small));
  });

  it("a reset of one stream ends that one, honestly, and no other", async () => {
    const reset = { events: 20, gapMs: 2, fault: "reset", after: 10 } as const;
    const good = { events: 20, gapMs: 2 };
    const [broken, ...others] = await Promise.all([house.ask(reset), ...many(20, () => house.ask(good))]);
    expect(broken).toContain(eventLine(9));
    expect(codeIn(broken as string)).toBe("upstream_disconnected");
    expect(broken).not.toContain("[DONE]");
    for (const text of others) expect(text).toContain(whole(good));
  });

  it("a refused stream is an upstream's failure with a status, not a hang", async () => {
    const before = house.upstream.seen.h2;
    const answer = await post(`${house.gateway.url}/v1/chat/completions`, {
      model: "h2",
      stream: true,
      messages: [{ role: "user", content: JSON.stringify({ events: 1, fault: "refuse" }) }],
    });
    expect(answer.status).toBe(502);
    expect(codeIn(await answer.text())).toMatch(/^upstream_(disconnected|unreachable)$/);
    // RFC 9113, section 8.7: a refused stream was not processed and may be sent again; no more than once here.
    expect(house.upstream.seen.h2 - before).toBeLessThanOrEqual(2);
  });

  it("GOAWAY lets what runs end, and what comes next goes over a new connection", async () => {
    const { sessions } = house.upstream;
    const goaway = { events: 30, gapMs: 3, fault: "goaway", after: 10 } as const;
    const good = { events: 40, gapMs: 3 };
    const running = [house.ask(goaway), ...many(20, () => house.ask(good))];
    const made = sessions.made;
    const texts = await Promise.all(running);
    expect(texts[0]).toContain(whole(goaway));
    for (const text of texts.slice(1)) expect(text).toContain(whole(good));
    expect(await house.ask(good)).toContain(whole(good));
    expect(sessions.made).toBeGreaterThan(made);
  });

  it("a connection that breaks ends all its streams, honestly, and the next request is served", async () => {
    const good = { events: 60, gapMs: 4 };
    const before = house.upstream.seen.h2;
    const cut = house.ask({ events: 30, gapMs: 3, fault: "cut", after: 10 });
    const texts = await Promise.all([cut, ...many(20, () => house.ask(good))]);
    for (const text of texts) {
      const isWhole = text.endsWith("data: [DONE]\n\n");
      if (isWhole) expect(text).toContain(whole(good));
      else expect(codeIn(text)).toBe("upstream_disconnected");
    }
    expect(codeIn(texts[0] as string)).toBe("upstream_disconnected");
    // Nothing that had begun was sent a second time; some may have found the connection gone already.
    expect(house.upstream.seen.h2 - before).toBeLessThanOrEqual(21);
    expect(await house.ask(good)).toContain(whole(good));
  });

  it("a client that leaves ends its stream upstream, and the connection carries on", async () => {
    const { seen } = house.upstream;
    await until("nothing is open", () => seen.open === 0);
    const aborted = seen.aborted;
    const leaving = new AbortController();
    const left = house
      .ask({ events: 100_000, gapMs: 2 }, leaving.signal)
      .catch((thrown: Error) => thrown.name);
    const good = { events: 100, gapMs: 2 };
    const staying = house.ask(good);
    await until("both are open", () => seen.open === 2);
    leaving.abort();
    expect(await left).toBe("AbortError");
    await until("the upstream heard of it", () => seen.aborted === aborted + 1);
    expect(await staying).toContain(whole(good));
  });

  it("leaves nothing open", async () => {
    await until("all streams are closed", () => house.upstream.seen.open === 0);
    await until(
      "all slots are free",
      async () => (await metricOf(house.gateway.url, "sluice_upstream_in_flight")) === 0,
    );
  });
});

describe.skipIf(!hasOpenssl)("limits and choices of HTTP/2 (skipped without openssl)", () => {
  it("an upstream that takes 4 streams a connection gets no more, and all requests are served", async () => {
    const house = await open(await startHttp2Upstream({ maxConcurrentStreams: 4 }));
    try {
      const good = { events: 20, gapMs: 3 };
      const texts = await Promise.all(many(60, () => house.ask(good)));
      for (const text of texts) expect(text).toContain(whole(good));
      expect(house.upstream.seen).toMatchObject({ h2: 60, open: 0 });
      expect(house.upstream.seen.most).toBeLessThanOrEqual(4);
    } finally {
      await house.close();
    }
  });

  it("switched off, it speaks HTTP/1.1 to the same upstream", async () => {
    const house = await open(await startHttp2Upstream(), { SLUICE_UPSTREAM_HTTP2: "false" });
    try {
      expect(await house.ask({ events: 1 })).toContain(eventLine(0));
      expect(house.upstream.seen).toMatchObject({ h1: 1, h2: 0 });
    } finally {
      await house.close();
    }
  });
});
