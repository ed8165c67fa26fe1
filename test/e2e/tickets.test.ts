/** Tickets: forged, spent, expired, out of their scope. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { type Emulator, startEmulator } from "../../src/emulator/index.ts";
import { type GatewayProcess, startProcess } from "../support/gateway.ts";
import { chat, type GenerationObject, post, refusal } from "../support/requests.ts";
import { API_KEYS, bearer, forgeries, type Tenant, ticketOf } from "../support/tenants.ts";
import { WsClient } from "../support/ws-client.ts";

const NO_KEY = "invalid_api_key";
const BAD = "invalid_ticket";

let emulator: Emulator;
let gateway: GatewayProcess;
let url: string;
beforeAll(async () => {
  emulator = await startEmulator();
  gateway = await startProcess({
    OPENAI_BASE_URL: emulator.url,
    SLUICE_API_KEYS: API_KEYS,
    SLUICE_TICKET_SECRET: "a secret of the tests",
  });
  url = gateway.url;
});
afterAll(async () => {
  await gateway?.stop();
  await emulator?.close();
});

async function generationOf(tenant: Tenant): Promise<string> {
  const request = chat({ tokens: 100_000, pace_ms: 50 });
  const answer = await post(`${url}/v1/generations`, { request }, bearer(tenant));
  return ((await answer.json()) as GenerationObject).id;
}

describe("tickets", () => {
  test("that were not signed as they stand are invalid, wherever they are shown", async () => {
    const id = await generationOf("alice");
    for (const [what, ticket] of Object.entries(
      await forgeries(await ticketOf(url, "alice", { generation: id })),
    )) {
      for (const path of [`/v1/generations/${id}`, "/v1/models", "/v1/ws"]) {
        const answer = fetch(`${url}${path}?ticket=${encodeURIComponent(ticket)}`);
        expect([what, await refusal(answer)]).toMatchObject([what, { status: 401, code: BAD }]);
      }
    }
  });

  test("for a WebSocket open one, once, and are not spent where they open nothing", async () => {
    const ticket = await ticketOf(url, "alice");
    const protocols = ["sluice.v1", `sluice.ticket.${ticket}`];
    expect((await fetch(`${url}/v1/models?ticket=${ticket}`)).status).toBe(403);
    expect((await fetch(`${url}/v1/ws?ticket=${ticket}`)).status).toBe(426);
    const client = await WsClient.open(gateway.wsUrl, { protocols });
    client.terminate();
    const again = new WsClient(new WebSocket(`${gateway.wsUrl}/v1/ws`, protocols, { origin: gateway.url }));
    expect((await again.closed).code).toBe(4401);
    expect(again.messages).toMatchObject([{ error: { code: BAD } }]);
  });

  test("for a generation open it as often as a reader comes back", async () => {
    const id = await generationOf("alice");
    const ticket = await ticketOf(url, "alice", { generation: id });
    for (let n = 0; n < 3; n++) {
      expect((await fetch(`${url}/v1/generations/${id}?ticket=${ticket}`)).status).toBe(200);
      (
        await WsClient.open(gateway.wsUrl, { protocols: ["sluice.v1", `sluice.ticket.${ticket}`] })
      ).terminate();
    }
  });

  test("have the life that their kind may have", async () => {
    const id = await generationOf("alice");
    for (const body of [
      { ttl_s: 301 },
      { ttl_s: 0 },
      { ttl_s: -1 },
      { ttl_s: 1.5 },
      { ttl_s: "60" },
      { generation: id, ttl_s: 3601 },
      { generation: 7 },
    ]) {
      const refused = refusal(post(`${url}/v1/tickets`, body, bearer("alice")));
      expect(await refused).toMatchObject({ status: 400, code: "invalid_request" });
    }
  });

  test("stand behind a key: a wrong key is not made good by a ticket", async () => {
    const id = await generationOf("alice");
    const ticket = await ticketOf(url, "alice", { generation: id });
    const wrong = { authorization: "Bearer wrong" };
    const answer = fetch(`${url}/v1/generations/${id}?ticket=${ticket}`, { headers: wrong });
    expect(await refusal(answer)).toMatchObject({ status: 401, code: NO_KEY });
  });

  test("die with their key, though another of that name comes", async () => {
    const id = await generationOf("alice");
    const ticket = await ticketOf(url, "alice", { generation: id });
    const renewed = await startProcess({
      OPENAI_BASE_URL: emulator.url,
      SLUICE_API_KEYS: "alice:another-key-of-alice",
      SLUICE_TICKET_SECRET: "a secret of the tests",
    });
    const answer = fetch(`${renewed.url}/v1/generations/${id}?ticket=${ticket}`);
    expect(await refusal(answer)).toMatchObject({ status: 401, code: BAD });
    await renewed.stop();
  });
});
