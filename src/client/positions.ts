/** Which generations are being read and how far, kept where a reload finds it. */
import { page } from "./page.ts";
import type { PositionStorage, Stored } from "./types.ts";

export interface Positions {
  keep(generation: string, position: number): void;
  drop(generation: string): void;
  list(): Stored[];
}

/** @param url the gateway's: one storage may hold the positions of several */
export function positionsIn(url: string, storage: PositionStorage | null = pageStorage()): Positions {
  const prefix = `sluice ${url} `;
  return {
    keep(generation, position) {
      try {
        storage?.setItem(prefix + generation, `${position}`);
      } catch {
        // A storage that is full or forbidden costs the position after a reload, and must not cost the answer.
      }
    },
    drop: (generation) => storage?.removeItem(prefix + generation),
    list() {
      const found: Stored[] = [];
      for (let index = 0; storage && index < storage.length; index++) {
        const key = storage.key(index);
        if (key?.startsWith(prefix))
          found.push({ generation: key.slice(prefix.length), position: Number(storage.getItem(key)) });
      }
      return found;
    },
  };
}

/** Only pages are reloaded: elsewhere a `sessionStorage` would outlive nothing. */
function pageStorage(): PositionStorage | null {
  try {
    return (page.document && page.sessionStorage) ?? null;
  } catch {
    // A page that may not keep anything: looking is an error already (WHATWG HTML, section 12.2.3).
    return null;
  }
}
