/** What the tests of access share: two tenants, what each may show, and a generation of each. */
import { SignJWT } from "jose";
import { post } from "./requests.ts";

export const KEYS = { alice: "key-of-alice-0123456789", bob: "key-of-bob-9876543210" } as const;
export type Tenant = keyof typeof KEYS;

export const API_KEYS = Object.entries(KEYS)
  .map(([name, key]) => `${name}:${key}`)
  .join(",");

export const bearer = (tenant: Tenant): Record<string, string> => ({
  authorization: `Bearer ${KEYS[tenant]}`,
});

/** A ticket of that tenant, for one generation or for a WebSocket. */
export async function ticketOf(
  url: string,
  tenant: Tenant,
  more: { readonly generation?: string; readonly ttl_s?: number } = {},
): Promise<string> {
  const answer = await post(`${url}/v1/tickets`, more, bearer(tenant));
  if (answer.status !== 200) throw new Error(`status ${answer.status}: ${await answer.text()}`);
  return ((await answer.json()) as { ticket: string }).ticket;
}

export const claimsOf = (ticket: string): Record<string, unknown> =>
  JSON.parse(Buffer.from(ticket.split(".")[1] ?? "", "base64url").toString()) as Record<string, unknown>;

/** The same claims under a secret of the forger's own. */
export function forged(ticket: string): Promise<string> {
  return new SignJWT(claimsOf(ticket)).setProtectedHeader({ alg: "HS256" }).sign(Buffer.alloc(32, "forger"));
}

const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");

/** Every way of having a ticket taken that was not signed as it stands. */
export async function forgeries(ticket: string): Promise<Record<string, string>> {
  const [head = "", body = "", signature = ""] = ticket.split(".");
  const claims = claimsOf(ticket);
  return {
    "another secret": await forged(ticket),
    "no algorithm": `${part({ alg: "none" })}.${body}.`,
    "no algorithm, and a signature": `${part({ alg: "none" })}.${body}.${signature}`,
    "another algorithm": `${part({ alg: "HS512" })}.${body}.${signature}`,
    "a key of its own": `${part({ alg: "HS256", jwk: { kty: "oct", k: "AAAA" }, kid: "x" })}.${body}.${signature}`,
    "another owner": `${head}.${part({ ...claims, sub: "bob" })}.${signature}`,
    "another generation": `${head}.${part({ ...claims, generation: "gen_other" })}.${signature}`,
    "a later end": `${head}.${part({ ...claims, exp: 99_999_999_999 })}.${signature}`,
    "half a signature": `${head}.${body}.${signature.slice(0, 20)}`,
    "no signature": `${head}.${body}.`,
    "no ticket": "x",
    "an empty object": `${part({})}.${part({})}.`,
    "a very long one": "e".repeat(4000),
  };
}
