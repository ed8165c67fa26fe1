/** What of a page's globals is used; programs outside of pages have none of it, or not for the same end. */

interface Target {
  addEventListener(type: string, listener: () => void, options: { signal: AbortSignal }): void;
}

export interface Page extends Partial<Target> {
  readonly document?: Target & { readonly visibilityState: string };
  readonly navigator?: { readonly onLine?: boolean };
  readonly location?: { readonly origin: string };
}

export const page = globalThis as Page;
export const isPage = page.document !== undefined;
