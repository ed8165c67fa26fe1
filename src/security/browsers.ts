import { Fault } from "../core/errors.ts";

export interface BrowserRules {
  /** Foreign origins whose pages may call; `*` stands for all. */
  readonly corsOrigins: readonly string[];
  /** The address that browsers use, where it is not the one listened on. */
  readonly publicUrl?: string;
  /** No key is asked for: only names that no page can point here are answered. */
  readonly isKeyless: boolean;
}

export interface BrowserRequest {
  readonly host: string | undefined;
  readonly origin: string | undefined;
  readonly fetchSite: string | undefined;
  /** For the page or a file of it, to which any page may link. */
  readonly isPage: boolean;
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i;

/**
 * Keeps foreign pages out (PROTOCOL.md, section 7).
 * @throws Fault `host_not_allowed`, `origin_not_allowed`
 */
export function checkBrowser(request: BrowserRequest, rules: BrowserRules): void {
  if (rules.isKeyless && !isOurHost(request.host ?? "", rules)) throw new Fault("host_not_allowed");
  const { origin } = request;
  if (origin === undefined) {
    if (isForeignFetch(request)) throw new Fault("origin_not_allowed");
    return;
  }
  if (!isSameOrigin(origin, request.host, rules) && !isAllowed(origin, rules))
    throw new Fault("origin_not_allowed");
}

/** A fetch that tells no origin: an image, a script, a link. Another port of this host is another page's as well. */
const isForeignFetch = ({ fetchSite, isPage }: BrowserRequest): boolean =>
  fetchSite === "cross-site" || (fetchSite === "same-site" && !isPage);

const isAllowed = (origin: string, { corsOrigins }: BrowserRules): boolean =>
  corsOrigins.includes("*") || corsOrigins.includes(origin);

/** A page that the gateway itself served: of the host that was asked, or of the public address. */
function isSameOrigin(origin: string, host: string | undefined, { publicUrl }: BrowserRules): boolean {
  if (origin === publicUrl) return true;
  return URL.canParse(origin) && host !== undefined && new URL(origin).host === host.toLowerCase();
}

/** Without keys, a page of any site could reach the gateway by a name of its own that leads here (DNS rebinding). */
function isOurHost(host: string, { publicUrl }: BrowserRules): boolean {
  return LOOPBACK.test(host) || (publicUrl !== undefined && new URL(publicUrl).host === host.toLowerCase());
}
