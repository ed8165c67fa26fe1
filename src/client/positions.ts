/** Which generations are being read and how far, kept where a reload finds it. */
import { isPage } from "./page.ts";
import type { PositionStorage, Stored } from "./types.ts";

export class Positions {
  readonly #storage: PositionStorage | null;
  readonly #prefix: string;

  /** @param url the gateway's: one storage may hold the positions of several */
  constructor(storage: PositionStorage | null | undefined, url: string) {
    this.#storage = storage === undefined ? pageStorage() : storage;
    this.#prefix = `sluice ${url} `;
  }

  keep(generation: string, position: number): void {
    try {
      this.#storage?.setItem(this.#prefix + generation, String(position));
    } catch {
      // A storage that is full or forbidden costs the position after a reload, and must not cost the answer.
    }
  }

  drop(generation: string): void {
    this.#storage?.removeItem(this.#prefix + generation);
  }

  list(): Stored[] {
    const storage = this.#storage;
    if (storage === null) return [];
    return Array.from({ length: storage.length }, (_, index) => storage.key(index) ?? "")
      .filter((key) => key.startsWith(this.#prefix))
      .map((key) => ({
        generation: key.slice(this.#prefix.length),
        position: Number(storage.getItem(key)),
      }));
  }
}

/** Only pages are reloaded: elsewhere a `sessionStorage` would outlive nothing. */
function pageStorage(): PositionStorage | null {
  try {
    return isPage ? ((globalThis as { sessionStorage?: PositionStorage }).sessionStorage ?? null) : null;
  } catch {
    // A page that may not keep anything: looking is an error already (WHATWG HTML, section 12.2.3).
    return null;
  }
}
