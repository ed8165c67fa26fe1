/** The gateway that served this page: its key, its models, and the client that reads from it. */
import { createClient } from "../client.js";
import { find } from "./dom.js";

/** Of the page's own address: the page may lie below a path. */
const URL_OF_GATEWAY = new URL(".", location.href).href.replace(/\/$/, "");

const key = find("key");
const form = document.querySelector("#key-form");

let isKeyNeeded = false;
/** @type {import("../client/types.ts").Client | undefined} */
let made;

/** The key is in this object and in the field, and nowhere else; positions are kept with the text. */
export function client() {
  const apiKey = key.value.trim();
  made ??= createClient({ url: URL_OF_GATEWAY, storage: null, ...(apiKey && { apiKey }) });
  return made;
}

export const gateway = () => ({ url: URL_OF_GATEWAY, needsKey: isKeyNeeded });

export function askForKey() {
  isKeyNeeded = true;
  if (!form.hidden) return;
  form.hidden = false;
  key.focus();
}

/** @param {() => void} onKey called when there is another key */
export function watchKey(onKey) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    // Sockets belong to the key that opened them.
    made?.close();
    made = undefined;
    onKey();
  });
}

/**
 * @returns {Promise<string[]>} the ids of the models
 * @throws {Error} what the gateway said, or what fetch throws
 */
export async function models() {
  const apiKey = key.value.trim();
  const headers = apiKey ? { authorization: `Bearer ${apiKey}` } : {};
  const answer = await fetch(`${URL_OF_GATEWAY}/v1/models`, { headers, cache: "no-store" });
  if (answer.status === 401) askForKey();
  const body = await answer.json();
  if (!answer.ok) throw new Error(body?.error?.message ?? `HTTP ${answer.status}`);
  return body.data.map(({ id }) => String(id));
}
