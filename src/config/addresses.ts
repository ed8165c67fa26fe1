/** Hosts, URLs and origins. No URL is shown in a complaint: credentials may stand in any part of it. */
import { BlockList, isIP, isIPv6 } from "node:net";
import type { Complain } from "./types.ts";

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

const ANY = new BlockList();
ANY.addAddress("0.0.0.0", "ipv4");
ANY.addAddress("::", "ipv6");

/** An address or a name to listen on; an IPv6 address may wear the brackets that it has in a URL. */
export function readHost(text: string, complain: Complain): string {
  const host = withoutBrackets(text).toLowerCase();
  if (isIP(host) !== 0 || /^[a-z0-9_]([a-z0-9._-]{0,252})$/.test(host)) return host;
  throw complain("must be an IP address or a host name, without a port");
}

export function isLoopback(host: string): boolean {
  return host === "localhost" || listed(LOOPBACK, host);
}

/** Whether a request to `url` would come back to the gateway that listens on `host` and `port`. */
export function reachesItself(url: string, host: string, port: number): boolean {
  const target = new URL(url);
  const targetHost = withoutBrackets(target.hostname);
  if (Number(target.port || (target.protocol === "https:" ? 443 : 80)) !== port) return false;
  if (targetHost === host) return true;
  if (!isLocal(targetHost) || !isLocal(host)) return false;
  // Two addresses of this machine are two places, unless one of them stands for several.
  return [targetHost, host].some((each) => each === "localhost" || listed(ANY, each));
}

/** The address under which an OpenAI-compatible API is found, without a trailing slash. */
export function readBaseUrl(text: string, complain: Complain): string {
  const url = readUrl(text, complain);
  return url.origin + url.pathname.replace(/\/+$/, "");
}

/** The origin of an address that browsers use. A path is no part of what is compared, and is left out. */
export function readPublicUrl(text: string, complain: Complain): string {
  return readUrl(text, complain).origin;
}

/** Origins as browsers send them, or `*`. */
export function readOrigins(entries: readonly string[], complain: Complain): readonly string[] {
  const origins = entries.map((entry, index) =>
    readOrigin(entry, (problem) => complain(`entry ${index + 1} ${problem}`)),
  );
  return [...new Set(origins)];
}

function readOrigin(text: string, complain: Complain): string {
  if (text === "*") return text;
  const bare = /^[a-z][a-z0-9+.-]*:\/\/[^\s/?#@\\]+$/i.test(text);
  const url = bare ? URL.parse(text) : null;
  if (url === null) throw complain("is neither * nor an origin: scheme://host or scheme://host:port");
  // Of other schemes (browser extensions, app shells) the URL standard gives no origin, but browsers send scheme and host.
  return url.origin === "null" ? `${url.protocol}//${url.host}` : url.origin;
}

function readUrl(text: string, complain: Complain): URL {
  const url = /^https?:\/\//i.test(text) ? URL.parse(text) : null;
  if (url === null) throw complain("must be a URL that begins with http:// or https://");
  if (url.username !== "" || url.password !== "") throw complain("must not hold a user name or a password");
  if (/[?#]/.test(text)) throw complain("must not hold a query or a fragment");
  return url;
}

const isLocal = (host: string): boolean => isLoopback(host) || listed(ANY, host);

function listed(addresses: BlockList, host: string): boolean {
  return isIP(host) !== 0 && addresses.check(host, isIPv6(host) ? "ipv6" : "ipv4");
}

const withoutBrackets = (host: string): string => host.replace(/^\[(.*)\]$/, "$1");
