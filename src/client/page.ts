/** What of a page's globals is used; programs outside of pages have none of it, or not for the same end. */
import type { PositionStorage } from "./types.ts";

export interface Page {
  readonly addEventListener?: (type: string, listener: () => void, options: { signal: AbortSignal }) => void;
  readonly document?: { readonly hidden: boolean };
  readonly sessionStorage?: PositionStorage;
  readonly navigator?: { readonly onLine?: boolean };
  readonly location?: { readonly origin: string };
}

export const page = globalThis as Page;
