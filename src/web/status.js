/**
 * The status page: asks the gateway for its own `/metrics` again and again, and shows what they say. It keeps what it needs in
 * its memory; nothing else is asked.
 */
import { Card, write } from "./status/card.js";
import { parseExposition } from "./status/exposition.js";
import { figuresOf, readingOf } from "./status/figures.js";
import { OutcomeTable } from "./status/outcomes.js";
import { PANELS, WINDOW_S } from "./status/panels.js";
import { bytes, count, NONE, uptime } from "./status/units.js";
import { SlidingWindow } from "./status/window.js";

/** @typedef {import("./status/figures.js").Figures} Figures */
/** @typedef {"connecting" | "live" | "draining" | "lost" | "locked"} State */

const POLL_MS = 2000;
/** A gateway that takes longer to answer is as good as gone. */
const PATIENCE_MS = 8000;
/** Two scrapes further apart (the page was hidden, the gateway away) tell nothing of the last seconds. */
const LONGEST_STEP_S = 12;

/** @param {string} selector @returns {any} */
const find = (selector) => document.querySelector(selector);
/** @param {string} name */
const part = (name) => find(`[data-testid="${name}"]`);

const page = {
  state: part("state"),
  detail: part("detail"),
  key: part("key"),
  keyForm: find("#key-form"),
  keyHint: find("#key-hint"),
};
const facts = Object.fromEntries(
  ["accepting", "upstreams", "uptime", "active", "retained", "sockets", "version", "node"].map((name) => [
    name,
    part(name),
  ]),
);

const cards = PANELS.map((panel) => new Card(panel));
const outcomes = new OutcomeTable(
  /** @type {Card} */ (cards[PANELS.findIndex(({ id }) => id === "requests")]).element,
);
const sliding = new SlidingWindow(WINDOW_S, LONGEST_STEP_S);
/** Monotonic seconds of the last answer. @type {number | null} */
let answeredAt = null;

const now = () => performance.now() / 1000;

// ---- asking -------------------------------------------------------------------------------------------------------

/** A refusal that the gateway put into words. */
class Refusal extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * @returns {Promise<{text: string, date: number}>} the metrics, and the gateway's own time in Unix seconds
 * @throws {Refusal} for every status that is no success; network errors as fetch throws them
 */
async function askMetrics() {
  const key = page.key.value.trim();
  const headers = key === "" ? {} : { authorization: `Bearer ${key}` };
  const answer = await fetch("metrics", {
    headers,
    cache: "no-store",
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (!answer.ok) {
    const body = await answer.json().catch(() => null);
    throw new Refusal(answer.status, body?.error?.message ?? `HTTP ${answer.status} ${answer.statusText}`);
  }
  const date = Date.parse(answer.headers.get("date") ?? "");
  return { text: await answer.text(), date: (Number.isNaN(date) ? Date.now() : date) / 1000 };
}

async function poll() {
  try {
    const { text, date } = await askMetrics();
    const scrape = parseExposition(text);
    const at = now();
    sliding.add(readingOf(scrape, at));
    answeredAt = at;
    show(figuresOf(scrape, sliding), at, date);
  } catch (error) {
    if (error instanceof Refusal && error.status === 401) askForKey(error);
    else showLost(error);
  }
}

/** One poll after another, and none while nobody looks. */
async function watch() {
  for (;;) {
    await untilSeen();
    await poll();
    await untilNext();
  }
}

const untilSeen = () =>
  new Promise((resolve) => {
    if (!document.hidden) return resolve(undefined);
    document.addEventListener("visibilitychange", resolve, { once: true });
  });

/** Ends the wait for the next poll. @type {() => void} */
let hurry = () => {};

const untilNext = () =>
  new Promise((resolve) => {
    hurry = () => resolve(undefined);
    // Without a key that may be right there is nothing to ask: the form goes on.
    if (document.body.dataset["state"] !== "locked") setTimeout(hurry, POLL_MS);
  });

// ---- showing ------------------------------------------------------------------------------------------------------

/** @param {State} state @param {string} text @param {string} [detail] */
function showState(state, text, detail = "") {
  document.body.dataset["state"] = state;
  // A polite region is read again at every write, also at one that changes nothing.
  write(page.state, text);
  write(page.detail, detail);
}

/** @param {Figures} figures @param {number} at @param {number} date the gateway's time, in Unix seconds */
function show(figures, at, date) {
  page.keyForm.hidden = true;
  for (const card of cards) card.show(at, figures);
  outcomes.show(figures);
  const isQuiet = figures.requestsEver === 0 && figures.active === 0;
  if (figures.isDraining)
    showState("draining", "Draining", "What runs goes on to its end; new work is refused.");
  else showState("live", "Live", isQuiet ? "No traffic yet." : trafficOf(figures));
  const { startedAt, retained, retainedBytes } = figures;
  write(facts["accepting"], figures.isDraining ? "refused" : "accepted");
  write(facts["upstreams"], `${count(figures.upstreamsAvailable)} of ${count(figures.upstreams)}`);
  write(facts["uptime"], uptime(startedAt === null ? null : Math.max(0, date - startedAt)));
  write(facts["active"], `${count(figures.active)} active`);
  write(facts["retained"], `${count(retained)} · ${bytes(retainedBytes)}`);
  write(facts["sockets"], `${count(figures.sockets)} open`);
  write(facts["version"], figures.version ?? NONE);
  write(facts["node"], figures.node ?? NONE);
}

/** @param {Figures} figures */
function trafficOf({ active, events, requests }) {
  return active === 0 && events === 0 && requests === 0 ? `No traffic in the last ${WINDOW_S} s.` : "";
}

/** @param {unknown} error */
function showLost(error) {
  const at = now();
  for (const card of cards) card.show(at, null);
  const why = error instanceof Refusal ? `${error.message} ` : "";
  const since = answeredAt === null ? "" : `These figures are ${Math.round(at - answeredAt)} s old.`;
  showState(
    "lost",
    error instanceof Refusal ? "Refused, retrying" : "Disconnected, retrying",
    `${why}${since}`,
  );
}

/** @param {Refusal} refusal */
function askForKey(refusal) {
  page.keyForm.hidden = false;
  if (page.key.value !== "") write(page.keyHint, refusal.message);
  page.key.focus();
  showState("locked", "This gateway asks for an API key");
}

page.keyForm.addEventListener("submit", (event) => {
  event.preventDefault();
  hurry();
});

watch();
