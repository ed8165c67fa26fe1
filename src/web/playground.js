/**
 * The playground: a conversation with the models behind this gateway. All that it says to the gateway about generations goes
 * through the gateway's own client (docs/CLIENT.md); what comes back enters the page as text, or as Markdown made safe.
 */
import { AnswerView } from "./playground/answer.js";
import { copyFrom } from "./playground/clipboard.js";
import { Conversation } from "./playground/conversation.js";
import { announce, find } from "./playground/dom.js";
import { statusOf } from "./playground/figures.js";
import { askForKey, client, gateway, models, watchKey } from "./playground/gateway.js";
import * as parameters from "./playground/parameters.js";
import { isOver, newRecord } from "./playground/record.js";
import { load, save } from "./playground/store.js";

const SAVE_MS = 1000;
/** Who is nearer to the end than this follows it. Pixels. */
const NEAR_END = 80;

const page = {
  list: find("messages"),
  prompt: find("prompt"),
  send: find("send"),
  stop: find("stop"),
  anew: find("new"),
  trouble: find("trouble"),
  composer: document.querySelector("#ask-form"),
  empty: document.querySelector("#empty"),
};

/** A generation that another tab began: this page only follows it. */
const shared = /^#(gen_[\w-]+)$/.exec(location.hash)?.[1];

const house = {
  client,
  gateway,
  transport: parameters.transport,
  defaultModel: parameters.defaultModel,
  onChange: changed,
  onLocked: askForKey,
};
const conversation = new Conversation(page.list, house);
/** The followed one, in a page that only follows. */
const followed =
  shared && new AnswerView(newRecord({ asked: "auto", generation: shared }), { ...house, again: () => {} });

// ---- keeping ------------------------------------------------------------------------------------------------------

let saving = 0;

function saveSoon() {
  saving ||= setTimeout(saveNow, SAVE_MS);
}

function saveNow() {
  clearTimeout(saving);
  saving = 0;
  if (shared) return;
  const isKept = save({ parameters: parameters.kept(), messages: conversation.kept() });
  complain(
    "kept",
    isKept ? "" : "The browser keeps no more of this conversation: after a reload it would be gone.",
  );
}

// ---- showing ------------------------------------------------------------------------------------------------------

/** What is wrong with the page, by what it is about. @type {Map<string, string>} */
const complaints = new Map();

function complain(about, text) {
  complaints.set(about, text);
  const all = [...complaints.values()].filter(Boolean).join(" ");
  page.trouble.textContent = all;
  page.trouble.hidden = all === "";
}

let isAtEnd = true;
addEventListener(
  "scroll",
  () => {
    const { scrollHeight, clientHeight } = document.documentElement;
    isAtEnd = scrollHeight - clientHeight - scrollY < NEAR_END;
  },
  { passive: true },
);

function scrollToEnd() {
  scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
}

let announced = "";

/** After each change of an answer, once a frame. @param {AnswerView} answer */
function changed({ record }) {
  const news = newsOf(record);
  if (news !== announced) announce((announced = news));
  if (isAtEnd) scrollToEnd();
  showState();
  if (isOver(record)) saveNow();
  else saveSoon();
}

function newsOf(record) {
  if (record.status === "queued") return `Queued, position ${record.position}`;
  if (record.status === "running") return "The answer has begun";
  if (record.error) return `The answer is over: ${record.status}, ${record.error.code}`;
  return isOver(record) ? `The answer is over: ${record.status}` : statusOf(record);
}

function showState() {
  const isRunning = conversation.running !== undefined;
  page.stop.hidden = !isRunning;
  page.send.hidden = isRunning;
  page.anew.hidden = conversation.isEmpty;
  page.empty.hidden = !conversation.isEmpty || shared !== undefined;
}

async function loadModels() {
  try {
    parameters.showModels(await models());
    complain("models", "");
  } catch (error) {
    complain("models", `The models could not be listed: ${error.message}`);
  }
}

// ---- asking -------------------------------------------------------------------------------------------------------

function send() {
  const text = page.prompt.value.trim();
  if (conversation.running || !parameters.areValid()) return;
  page.prompt.focus();
  if (text === "") return;
  page.prompt.value = "";
  conversation.ask(text, parameters.asked(), parameters.transport());
  isAtEnd = true;
  showState();
  scrollToEnd();
  saveNow();
}

function stop() {
  (conversation.running ?? followed)?.stop();
}

page.composer.addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});

page.prompt.addEventListener("keydown", (event) => {
  // Enter also ends the composition of a character: that one is not for the page.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing) stop();
});

page.stop.addEventListener("click", () => {
  stop();
  page.prompt.focus();
});

page.list.addEventListener("click", ({ target }) => {
  const pressed = target.closest('[data-act="copy-code"]');
  if (pressed) void copyFrom(pressed, pressed.closest(".code").querySelector("pre").textContent);
});

page.empty.addEventListener("click", ({ target }) => {
  if (!target.matches("[data-prompt]")) return;
  page.prompt.value = target.textContent;
  send();
});

page.anew.addEventListener("click", () => {
  conversation.clear();
  announced = "";
  announce("A new conversation");
  showState();
  saveNow();
  page.prompt.focus();
});

// ---- the beginning ------------------------------------------------------------------------------------------------

function followShared() {
  document.body.dataset.view = "shared";
  find("followed").textContent = shared;
  page.list.append(followed.element);
  void followed.follow();
}

function restore() {
  const kept = load();
  parameters.restore(kept.parameters);
  conversation.restore(kept.messages);
  if (!conversation.isEmpty) scrollToEnd();
}

parameters.watch(saveSoon);
watchKey(() => {
  void loadModels();
  complain("models", "");
  if (followed) void followed.follow();
  else conversation.followAll();
});
addEventListener("pagehide", saveNow);
addEventListener("hashchange", () => location.reload());

if (shared) followShared();
else restore();
showState();
void loadModels();
// On a screen without a mouse the keyboard would come up and cover the page.
if (!shared && matchMedia("(pointer: fine)").matches) page.prompt.focus();
