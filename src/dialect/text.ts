import { at, isRecord, listAt } from "./json.ts";

/** The text that a chat chunk or body adds to its first choice; empty where it adds none. */
export function textOf(payload: string): string {
  return listAt(JSON.parse(payload), "choices")
    .filter((choice) => (at(choice, "index") ?? 0) === 0)
    .map((choice) => partsText(at(at(choice, "delta"), "content") ?? at(at(choice, "message"), "content")))
    .join("");
}

/** Content is a string, or an array of parts of which some are text. */
function partsText(content: unknown): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return "";
  return content
    .map((part) => (isRecord(part) && typeof part["text"] === "string" ? part["text"] : ""))
    .join("");
}
