/** The clients' keys: `key`, or `name:key`. Complaints count entries, and show neither names nor keys. */
import { headerSecret } from "./kinds.ts";
import type { ApiKey, Complain } from "./types.ts";

/** Names become metric labels and stand in logs. */
export const NAME = /^[A-Za-z0-9_.-]{1,64}$/;
export const NAME_RULE = "must be 1 to 64 letters, digits, dots, hyphens or underscores";

/** What the metrics call a request without a key, and whatever else has no label of its own. */
const RESERVED: readonly string[] = ["none", "other"];

export function readApiKeys(entries: readonly string[], complain: Complain): readonly ApiKey[] {
  let unnamed = 0;
  const keys = entries.map((entry, index) => {
    const colon = entry.indexOf(":");
    const name = colon < 0 ? `key-${++unnamed}` : entry.slice(0, colon).trim();
    const key = entry.slice(colon + 1).trim();
    return readApiKey(name, key, (problem) => complain(`entry ${index + 1}: ${problem}`));
  });
  refuseTwins(keys, complain);
  return keys;
}

function readApiKey(name: string, key: string, complain: Complain): ApiKey {
  if (!NAME.test(name)) throw complain(`the name before the colon ${NAME_RULE}`);
  if (RESERVED.includes(name)) throw complain(`the names ${RESERVED.join(" and ")} are reserved`);
  return { name, key: headerSecret(key, (problem) => complain(`the key ${problem}`)) };
}

function refuseTwins(keys: readonly ApiKey[], complain: Complain): void {
  for (const part of ["name", "key"] as const) {
    const seen = new Map<string, number>();
    for (const [index, entry] of keys.entries()) {
      const first = seen.get(entry[part]);
      if (first !== undefined) throw complain(`entries ${first + 1} and ${index + 1} have the same ${part}`);
      seen.set(entry[part], index);
    }
  }
}
