import type { Chunk } from "./types.ts";

/** The text that an event adds to the first choice; empty where it adds none. */
export function textOf({ choices }: Chunk): string {
  const choice = Array.isArray(choices) ? choices.find((each) => !each.index) : undefined;
  const content = choice?.delta?.content ?? choice?.text;
  if (typeof content === "string") return content;
  // Some upstreams send parts, of which some are text.
  return Array.isArray(content) ? content.map((part) => part?.text ?? "").join("") : "";
}
