/** A generation as the UI message stream of the AI SDK, version 1: what `useChat` reads. */
import type { Generation } from "../core/generation.ts";
import type { Ending } from "../core/ports.ts";
import { opening, UI_START, type UiPart, type UiState, UiTranslator } from "../dialect/ui-message.ts";
import { Chunk } from "../transport/chunk.ts";
import { endedWell, type SseEncoding } from "../transport/sse.ts";

export const UI_STREAM_HEADERS: Readonly<Record<string, string>> = { "x-vercel-ai-ui-message-stream": "v1" };

const DONE = "data: [DONE]\n\n";

const written = (parts: readonly UiPart[]): string =>
  parts.map((part) => `data: ${JSON.stringify(part)}\n\n`).join("");

/** Where a reader stands: the state after event `seq` of a log. */
interface Place {
  readonly seq: number;
  readonly state: UiState;
}

interface Step {
  readonly generation: Generation;
  readonly messageId: string;
  readonly after: number;
  readonly chunk: Chunk;
  readonly to: Place;
}

/** What was encoded last. Readers that keep up all take the same step, one after the other. */
let latest: Step | undefined;
/** The last bytes, which all readers of a generation are sent at the same moment. */
const endings = new WeakMap<Generation, Buffer>();

/**
 * The encoding for one reader. Its parts depend on the parts before them, so it keeps the state at its place; that is small, and
 * the same for every reader at that place.
 * @param messageId of the message that the answer becomes or goes on with
 */
export function uiMessageStream(messageId: string): SseEncoding {
  let place: Place = { seq: 0, state: UI_START };
  return {
    hasComments: true,
    events(generation, after, last) {
      const isShared =
        latest?.generation === generation &&
        latest.messageId === messageId &&
        latest.after === after &&
        latest.to.seq === last;
      if (latest === undefined || !isShared) {
        if (place.seq !== after) place = placeAt(generation, after);
        latest = step(generation, messageId, place, last);
      }
      place = latest.to;
      return latest.chunk;
    },
    ending(generation, ending) {
      const prelude = generation.log.head === 0 ? written(opening(messageId)) : "";
      const known = endings.get(generation) ?? Buffer.from(closing(generation, ending));
      endings.set(generation, known);
      return prelude === "" ? known : Buffer.concat([Buffer.from(prelude), known]);
    },
  };
}

function step(generation: Generation, messageId: string, { seq: after, state }: Place, last: number): Step {
  const parts: UiPart[] = after === 0 && last > 0 ? opening(messageId) : [];
  const to = walk(generation, { seq: after, state }, last, (part) => parts.push(part));
  return { generation, messageId, after, chunk: Chunk.from(Buffer.from(written(parts))), to };
}

const placeAt = (generation: Generation, seq: number): Place =>
  walk(generation, { seq: 0, state: UI_START }, seq, () => {});

/** Reads the log from a place up to event `last`, and says what each part is. */
function walk(generation: Generation, from: Place, last: number, tell: (part: UiPart) => void): Place {
  const { id, log } = generation;
  const translator = new UiTranslator(id, from.state);
  for (let seq = from.seq + 1; seq <= last; seq++)
    for (const part of translator.payload(log.payload(seq).toString("utf8"))) tell(part);
  return { seq: last, state: translator.state };
}

/** `finish` exactly where it ended well, else `error` or `abort`; `[DONE]` says only that nothing more comes. */
function closing(generation: Generation, ending: Ending): string {
  if (ending.status === "cancelled") return written([{ type: "abort", reason: wordsOf(ending) }]) + DONE;
  if (!endedWell(ending)) return written([{ type: "error", errorText: wordsOf(ending) }]) + DONE;
  const inputs = new Map<string, string>();
  const { state } = walk(generation, { seq: 0, state: UI_START }, generation.log.head, (part) => {
    if (part.type !== "tool-input-delta") return;
    const id = part["toolCallId"] as string;
    inputs.set(id, (inputs.get(id) ?? "") + part["inputTextDelta"]);
  });
  return written(new UiTranslator(generation.id, state).ended((id) => inputs.get(id) ?? "")) + DONE;
}

const wordsOf = ({ fault, status }: Ending): string => fault?.toObject().message ?? status;
