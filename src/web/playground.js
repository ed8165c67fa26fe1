/**
 * The playground: one generation at a time, read over SSE or WebSocket, and resumed after the last seq on whichever of the two
 * is chosen when the line comes back. Wire: PROTOCOL.md. Model output enters the page as text nodes only.
 */

/** @typedef {"sse" | "websocket"} Transport */
/** @typedef {{message?: string, type?: string, param?: string | null, code?: string | null}} Fault the contract's error object */
/** @typedef {{status: string, usage?: {completion_tokens?: number} | null, error?: Fault | null, timing?: {ttft_ms?: number}}} Ending */

const LABELS = { sse: "SSE", websocket: "WebSocket" };
const RESUME_MS = 1000;
const MAX_RESUME_MS = 8000;
const MAX_TRIES = 6;
/** Faults that a later try may not meet again. */
const PASSING = new Set(["rate_limit_error", "server_error", "upstream_error"]);
/** What makes an event one with content (PROTOCOL.md, section 2). */
const CONTENT = [
  "content",
  "reasoning",
  "reasoning_content",
  "refusal",
  "tool_calls",
  "function_call",
  "audio",
];

// ---- the page -----------------------------------------------------------------------------------------------------

/** @param {string} selector @returns {any} */
const find = (selector) => document.querySelector(selector);
/** @param {string} name */
const part = (name) => find(`[data-testid="${name}"]`);

const page = {
  prompt: part("prompt"),
  model: part("model"),
  key: part("key"),
  send: part("send"),
  stop: part("stop"),
  cut: part("cut"),
  output: part("output"),
  reasoning: part("reasoning"),
  ttft: part("ttft"),
  rate: part("rate"),
  position: part("position"),
  generation: part("generation"),
  seq: part("seq"),
  status: part("status"),
  log: part("log"),
  error: part("error"),
  answer: find("#answer"),
  thought: find("#thought"),
  keyForm: find("#key-form"),
  askForm: find("#ask-form"),
  models: find("#models"),
};

/** @returns {Transport} the one chosen now */
const chosen = () => find('input[name="transport"]:checked').value;

/** A disabled button would drop the keyboard's focus in mid-answer; one that says it is disabled keeps it. */
function enable(button, on) {
  button.setAttribute("aria-disabled", String(!on));
}

function onPress(button, act) {
  button.addEventListener("click", () => button.getAttribute("aria-disabled") !== "true" && act());
}

function showStatus(text, state) {
  // A polite region is read again at every write, also at one that changes nothing.
  if (page.status.textContent !== text) page.status.textContent = text;
  page.answer.dataset.state = state;
}

/** @param {Fault} fault */
function showFault(fault) {
  const code = document.createElement("code");
  code.textContent = fault.code ?? fault.type ?? "error";
  const message = document.createElement("span");
  message.textContent = fault.message ?? "No message came with it.";
  page.error.replaceChildren(code, message);
  page.error.hidden = false;
}

/** @param {"plain" | "good" | "warn" | "bad"} [kind] */
function note(text, kind = "plain") {
  const time = document.createElement("time");
  time.textContent = `${((performance.now() - (run?.sentAt ?? performance.now())) / 1000).toFixed(2)} s`;
  const line = document.createElement("span");
  line.textContent = text;
  const item = document.createElement("li");
  item.className = kind;
  item.append(time, line);
  page.log.append(item);
  page.log.scrollTop = page.log.scrollHeight;
}

function appendText(block, text) {
  if (!text) return;
  if (!block.firstChild) block.append(document.createTextNode(""));
  block.firstChild.appendData(text);
}

const inWords = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`);

// ---- HTTP ---------------------------------------------------------------------------------------------------------

/** A refusal that the gateway put into words. */
class Refusal extends Error {
  /** @param {Fault} fault */
  constructor(fault) {
    super(fault.message ?? "refused");
    this.fault = fault;
  }
}

/** A connection that went away without an ending. */
class Lost extends Error {}

/** @throws {Refusal} for every status that is no success; network errors and aborts as fetch throws them */
async function call(path, init = {}) {
  const headers = new Headers(init.headers);
  if (page.key.value) headers.set("authorization", `Bearer ${page.key.value.trim()}`);
  const answer = await fetch(path, { ...init, headers });
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => null);
  if (answer.status === 401) askForKey();
  const type = answer.status >= 500 ? "server_error" : "invalid_request_error";
  throw new Refusal(body?.error ?? { code: `http_${answer.status}`, type, message: answer.statusText });
}

const post = (path, body, init = {}) =>
  call(path, {
    ...init,
    method: "POST",
    headers: { "content-type": "application/json", ...init.headers },
    body: JSON.stringify(body),
  });

const generationPath = (id) => `v1/generations/${encodeURIComponent(id)}`;

function askForKey() {
  page.keyForm.hidden = false;
  page.key.focus();
}

async function loadModels() {
  try {
    const { data } = await (await call("v1/models")).json();
    const ids = data.map((model) => String(model.id));
    page.models.replaceChildren(...ids.map((id) => new Option(id, id)));
    if (ids.length === 1 && !page.model.value) page.model.value = ids[0];
    page.error.hidden = true;
  } catch (error) {
    // Without a list the field still takes any name; only a refusal is worth a word.
    if (error instanceof Refusal) showFault(error.fault);
  }
}

// ---- SSE ----------------------------------------------------------------------------------------------------------

/**
 * An incremental parser of `text/event-stream` (HTML, section 9.2.6); chunks may be cut anywhere.
 * @param {(event: {id: string, type: string, data: string}) => void} onEvent
 * @param {(comment: string) => void} onComment
 * @returns {(chunk: string) => void}
 */
function eventParser(onEvent, onComment) {
  let rest = "";
  let id = "";
  let type = "";
  /** @type {string[]} */
  let data = [];
  const fields = {
    id: (value) => (id = value),
    event: (value) => (type = value),
    data: (value) => data.push(value),
  };
  function takeLine(line) {
    if (line === "") {
      if (data.length > 0) onEvent({ id, type: type || "message", data: data.join("\n") });
      data = [];
      type = "";
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return onComment(line.slice(1).trim());
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (Object.hasOwn(fields, name)) fields[name](value);
  }
  return (chunk) => {
    rest += chunk;
    let from = 0;
    // A CR at the very end may be the first half of a CRLF: it waits for the next chunk.
    for (const end of rest.matchAll(/\r\n|\n|\r(?!$)/g)) {
      takeLine(rest.slice(from, end.index));
      from = end.index + end[0].length;
    }
    rest = rest.slice(from);
  };
}

/** Starts the generation if need be, and reads its events to the ending. @param {Run} run @param {AbortSignal} signal */
async function readSse(run, signal) {
  if (!run.generation) {
    const body = { request: run.request, on_disconnect: "grace" };
    const headers = { "idempotency-key": run.idempotencyKey };
    const made = await (await post("v1/generations", body, { headers, signal })).json();
    run.accept(made.id);
  }
  const headers = run.seq > 0 ? { "last-event-id": String(run.seq) } : {};
  const answer = await call(`${generationPath(run.generation)}/events`, { headers, signal });
  run.open("sse");
  // 204: the ending was seen before, so what it said is on the generation.
  if (answer.status === 204) return run.end(await (await call(generationPath(run.generation))).json());
  const parse = eventParser(
    ({ id, type, data }) => {
      if (type === "end") run.end(JSON.parse(data), Number(id));
      else run.take(Number(id), JSON.parse(data));
    },
    (comment) => {
      const position = /^queued position=(\d+)/.exec(comment)?.[1];
      if (position) run.wait(Number(position));
    },
  );
  const decoder = new TextDecoder();
  const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).getReader();
  for (let chunk; !run.ending && !(chunk = await reader.read()).done; ) {
    parse(decoder.decode(chunk.value, { stream: true }));
  }
}

// ---- WebSocket ----------------------------------------------------------------------------------------------------

/** The page's one socket, kept for the next generation. @type {WebSocket | null} */
let wire = null;
let names = 0;

/** Resolves with a socket that has said `ready`. @param {AbortSignal} signal */
async function openWire(signal) {
  if (wire?.readyState === WebSocket.OPEN) return wire;
  const protocols = ["sluice.v1"];
  if (page.key.value) {
    const { ticket } = await (await post("v1/tickets", {}, { signal })).json();
    protocols.push(`sluice.ticket.${ticket}`);
  }
  const url = new URL("v1/ws", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url, protocols);
  try {
    await new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(new Lost("cut")), { once: true });
      socket.onclose = (event) => reject(closed(event.code));
      socket.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        if (message.type === "ready") resolve(message);
        if (message.type === "error") reject(refused(message.error));
      };
    });
  } catch (error) {
    socket.close();
    throw error;
  }
  return (wire = socket);
}

/** @param {Fault} fault */
function refused(fault) {
  if (fault.type === "authentication_error") askForKey();
  return new Refusal(fault);
}

/** Close codes below 4000 say "resume", less these three; the others are for good. */
function closed(code) {
  if (code < 4000 && ![1000, 1008, 1009].includes(code)) return new Lost(`close code ${code}`);
  if (code === 4401) askForKey();
  return new Refusal({
    code: `closed_${code}`,
    message: `The gateway closed the WebSocket with code ${code}.`,
  });
}

/** Generates or subscribes, and follows to the ending. @param {Run} run @param {AbortSignal} signal */
async function readWebSocket(run, signal) {
  const socket = await openWire(signal);
  const id = `run-${++names}`;
  const say = (message) => socket.send(JSON.stringify({ id, ...message }));
  try {
    await new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(new Lost("cut")), { once: true });
      socket.onclose = (event) => reject(closed(event.code));
      socket.onmessage = ({ data }) => {
        try {
          hear(run, id, JSON.parse(data));
          if (run.ending) resolve(undefined);
        } catch (error) {
          reject(error);
        }
      };
      run.cancelHere = () => say({ type: "cancel" });
      if (run.generation) say({ type: "subscribe", generation: run.generation, starting_after: run.seq });
      else {
        const { request, idempotencyKey } = run;
        say({ type: "generate", request, on_disconnect: "grace", idempotency_key: idempotencyKey });
      }
    });
  } finally {
    run.cancelHere = null;
    socket.onmessage = socket.onclose = null;
    if (!run.ending || run.draining) socket.close();
  }
}

/** One message of the socket. Heartbeats and pongs are signs of life with nothing to show. @param {Run} run */
function hear(run, id, message) {
  if (message.type === "draining") return run.drain(message.retry_ms);
  const mine =
    message.id === id || (message.generation !== undefined && message.generation === run.generation);
  if (message.type === "error" && (mine || message.id === undefined)) throw refused(message.error);
  if (!mine) return;
  if (message.type === "accepted") {
    run.accept(message.generation);
    run.open("websocket");
  } else if (message.type === "queued") run.wait(message.position);
  else if (message.type === "event") run.take(message.seq, message.data);
  else if (message.type === "end") run.end(message, message.seq);
}

// ---- a run --------------------------------------------------------------------------------------------------------

/** One generation as this page saw it. */
class Run {
  sentAt = performance.now();
  /** Makes a repeated creation, after a cut before the answer, attach to the first one. */
  idempotencyKey = Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(36)).join(
    "-",
  );
  generation = "";
  seq = 0;
  /** @type {Ending | null} */
  ending = null;
  /** Ends the connection in use. @type {AbortController | null} */
  line = null;
  /** Cancels over the socket that reads, if one does. @type {(() => void) | null} */
  cancelHere = null;
  stopping = false;
  draining = false;
  tries = 0;
  opened = 0;
  pauseMs = RESUME_MS;
  position = 0;
  tokens = 0;
  firstAt = 0;
  latestAt = 0;
  #frame = 0;

  constructor(request) {
    this.request = request;
  }

  accept(generation) {
    if (!this.generation) note("accepted");
    this.generation = page.generation.textContent = generation;
    if (this.stopping) this.cancel();
  }

  /** @param {Transport} transport */
  open(transport) {
    if (this.opened++ > 0) note(`resumed on ${LABELS[transport]} after ${this.seq}`, "good");
    else note(`reading on ${LABELS[transport]}`);
    this.draining = false;
    // Still queued, the gateway says so at once.
    this.position = 0;
    page.position.textContent = "–";
    this.#showProgress();
  }

  wait(position) {
    if (position !== this.position) note(`queued, position ${position}`);
    this.tries = 0;
    this.position = position;
    page.position.textContent = String(position);
    showStatus("queued", "waiting");
  }

  take(seq, data) {
    // The gateway promises neither; the page says so if it ever breaks its word.
    if (seq <= this.seq) return note(`seq ${seq} came again and was left out`, "bad");
    if (seq !== this.seq + 1) note(`gap: seq ${seq} came after ${this.seq}`, "bad");
    this.seq = seq;
    this.tries = 0;
    page.seq.textContent = String(seq);
    page.position.textContent = "–";
    const choices = data.choices ?? [];
    if (choices.some(hasContent)) this.#count();
    const delta = choices.find((choice) => !choice.index)?.delta ?? {};
    const thought = delta.reasoning_content || delta.reasoning;
    if (thought) page.thought.hidden = false;
    appendText(page.reasoning, thought);
    appendText(page.output, textOf(delta.content) || delta.refusal);
    // The DOM holds the text at once; layout is asked for once a frame.
    this.#frame ||= requestAnimationFrame(() => this.#paint());
  }

  #count() {
    this.tokens += 1;
    this.latestAt = performance.now();
    if (this.tokens > 1) return;
    this.firstAt = this.latestAt;
    const ttft = inWords(this.firstAt - this.sentAt);
    page.ttft.textContent = ttft;
    note(`first token after ${ttft}`);
    this.#showProgress();
  }

  #showProgress() {
    if (this.stopping) return showStatus("stopping", "waiting");
    if (this.tokens > 0) return showStatus("running", "running");
    showStatus("waiting for the first token", "waiting");
  }

  #paint() {
    this.#frame = 0;
    const span = this.latestAt - this.firstAt;
    if (span > 0) page.rate.textContent = (((this.tokens - 1) * 1000) / span).toFixed(1);
    const { output } = page;
    // Someone who scrolled up to read is left where they are.
    if (output.scrollHeight - output.scrollTop - output.clientHeight < 120)
      output.scrollTop = output.scrollHeight;
  }

  /** @param {Ending} ending @param {number} [seq] */
  end(ending, seq) {
    this.ending = ending;
    if (seq) page.seq.textContent = String((this.seq = seq));
    page.position.textContent = "–";
    this.#paint();
    const good = ending.status === "completed" || ending.status === "incomplete";
    showStatus(ending.status, good ? "done" : ending.status === "failed" ? "failed" : "cancelled");
    if (ending.error && ending.status !== "cancelled") showFault(ending.error);
    const facts = [`${ending.status} at seq ${this.seq}`, `${this.tokens} content events`];
    if (ending.usage?.completion_tokens) facts.push(`${ending.usage.completion_tokens} tokens by usage`);
    if (ending.timing?.ttft_ms !== undefined)
      facts.push(`the gateway's TTFT ${inWords(ending.timing.ttft_ms)}`);
    note(facts.join(" · "), good ? "good" : ending.status === "failed" ? "bad" : "warn");
  }

  drain(retryMs) {
    this.draining = true;
    this.pauseMs = Math.max(RESUME_MS, retryMs ?? 0);
    note("the gateway is draining; this answer may run to its end", "warn");
  }

  stop() {
    this.stopping = true;
    note("stop asked");
    showStatus("stopping", "waiting");
    // Unnamed yet: the stop goes out with the acceptance.
    if (this.generation || this.cancelHere) this.cancel();
  }

  cancel() {
    if (this.cancelHere) return this.cancelHere();
    call(`${generationPath(this.generation)}/cancel`, { method: "POST" }).catch((error) =>
      showFault(
        error.fault ?? { code: "not_sent", message: `The stop did not reach the gateway: ${error.message}` },
      ),
    );
  }

  cut() {
    note(`cut at seq ${this.seq}`, "warn");
    this.tries = 0;
    this.line?.abort();
  }

  /** Reads to the ending over as many lines as it takes. */
  async follow() {
    while (!this.ending) {
      const line = (this.line = new AbortController());
      enable(page.cut, true);
      const error = await (chosen() === "sse" ? readSse : readWebSocket)(this, line.signal).catch(
        (caught) => caught,
      );
      enable(page.cut, false);
      this.line = null;
      if (this.ending) return;
      if (!line.signal.aborted && !this.#survives(error)) return;
      if (this.stopping && !this.generation) return this.end({ status: "cancelled" });
      await this.#pause(line.signal.aborted ? "cut, resuming" : "connection lost, resuming");
    }
  }

  /** Whether a line that broke by itself may be tried again; if not, that is the ending. @param {unknown} error */
  #survives(error) {
    const fault = error instanceof Refusal ? error.fault : null;
    this.tries += 1;
    if (fault && !(this.generation && PASSING.has(fault.type ?? "")))
      this.end({ status: "failed", error: fault });
    else if (this.tries > MAX_TRIES) {
      const message = "The gateway could not be reached again. The generation may still be there.";
      this.end({ status: "failed", error: fault ?? { code: "connection_lost", message } });
    } else {
      const why = error instanceof Error ? `: ${error.message}` : "";
      note(`connection lost at seq ${this.seq}${why}`, "warn");
    }
    return !this.ending;
  }

  async #pause(text) {
    showStatus(text, "cut");
    const ms = Math.max(this.pauseMs, Math.min(RESUME_MS * 2 ** Math.max(0, this.tries - 1), MAX_RESUME_MS));
    this.pauseMs = RESUME_MS;
    await new Promise((resolve) => setTimeout(resolve, ms));
  }
}

/** `0` and `""` are no content; an object (audio, function_call) is. */
function hasContent(choice) {
  return CONTENT.some((name) => choice.delta?.[name] && choice.delta[name].length !== 0);
}

/** Content is a string, or an array of parts of which some are text. */
function textOf(content) {
  return Array.isArray(content) ? content.map((item) => item.text ?? "").join("") : content;
}

// ---- from the first press to the ending ---------------------------------------------------------------------------

/** The run on the page, ended or not. @type {Run | null} */
let run = null;

function clear() {
  for (const block of [page.output, page.reasoning, page.log, page.error]) block.replaceChildren();
  for (const figure of [page.ttft, page.rate, page.position, page.generation, page.seq])
    figure.textContent = "–";
  page.error.hidden = page.thought.hidden = true;
}

async function send() {
  const content = page.prompt.value.trim();
  if (run && !run.ending) return;
  if (!content) return page.prompt.focus();
  const model = page.model.value.trim();
  run = new Run({ ...(model && { model }), messages: [{ role: "user", content }] });
  clear();
  showStatus("connecting", "waiting");
  note(`sent on ${LABELS[chosen()]}`);
  page.output.setAttribute("aria-busy", "true");
  enable(page.send, false);
  enable(page.stop, true);
  await run.follow();
  page.output.removeAttribute("aria-busy");
  enable(page.send, true);
  enable(page.stop, false);
}

page.askForm.addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});

page.prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  send();
});

onPress(page.cut, () => run?.cut());
onPress(page.stop, () => {
  enable(page.stop, false);
  run?.stop();
});

page.keyForm.addEventListener("submit", (event) => {
  event.preventDefault();
  // The socket belongs to the key that opened it.
  if (!run || run.ending) wire?.close();
  loadModels();
});

loadModels();
