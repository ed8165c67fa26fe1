/** What the emulator says where no script gives it words. */
import { isRecord } from "./script.ts";

const ECHO_CHARACTERS = 200;

export const DEMO_HINT =
  "To talk to a real model, stop Sluice and start it again with OPENAI_API_KEY=... npm start for OpenAI, " +
  "npm start -- --upstream ollama for a local Ollama, " +
  "or OPENAI_BASE_URL=http://host:port/v1 npm start for any other OpenAI-compatible server.";

/** The pace of a demo to watch, where no script sets one; milliseconds. */
export const DEMO_PACE = { first_token_ms: 120, pace_ms: 25 } as const;

/** The demo's text for a chat or completions body. */
export function demoText(body: Readonly<Record<string, unknown>>, hint: string): string {
  const said = echo(lastUserText(body));
  return [
    "Hello from Sluice's built-in demo upstream.",
    "It is a small script and not a model, so nobody thought about this answer:",
    "it only shows that streaming works, word by word.",
    said === "" ? "You did not say anything." : `You said: “${said}”.`,
    hint,
  ].join(" ");
}

function lastUserText(body: Readonly<Record<string, unknown>>): string {
  const messages = body["messages"];
  if (!Array.isArray(messages)) return textOf(body["prompt"]);
  const last = messages.findLast((message) => isRecord(message) && message["role"] === "user");
  return isRecord(last) ? textOf(last["content"]) : "";
}

/** A string, or the text parts of an array of them. */
function textOf(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content
    .map((part: unknown) => (isRecord(part) ? part["text"] : part))
    .filter((part) => typeof part === "string")
    .join(" ");
}

function echo(text: string): string {
  const characters = [
    ...text
      .slice(0, 4 * ECHO_CHARACTERS)
      .replace(/\s+/g, " ")
      .trim(),
  ];
  if (characters.length <= ECHO_CHARACTERS) return characters.join("");
  return `${characters.slice(0, ECHO_CHARACTERS - 1).join("")}…`;
}
