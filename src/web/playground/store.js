/** The conversation as this browser keeps it. Never a key. */

const KEY = "sluice playground";
const VERSION = 1;

/** @typedef {{role: "user", text: string}} Question */
/** @typedef {{version: number, parameters: Record<string, string>, messages: (Question | import("./record.js").Answer)[]}} Kept */

/** @returns {Kept} what was kept, or an empty conversation */
export function load() {
  const empty = { version: VERSION, parameters: {}, messages: [] };
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "null");
    return kept?.version === VERSION ? kept : empty;
  } catch {
    // A storage that is forbidden, or holds what this page did not write, holds no conversation.
    return empty;
  }
}

/** @param {Omit<Kept, "version">} conversation @returns {boolean} false where it would not fit, or nothing may be kept */
export function save(conversation) {
  try {
    localStorage.setItem(KEY, JSON.stringify({ version: VERSION, ...conversation }));
    return true;
  } catch {
    return false;
  }
}
