/** What the playground shows in its tests and pictures: Markdown as a model writes it, and an upstream that says what a test wants. */
import { type PlainUpstream, startPlainUpstream } from "./plain-upstream.ts";

export const LESSON = `### What the line does

An answer is kept as numbered events, so that *any* reader may come back for the rest:

1. Each event has a **seq**, without a gap.
2. Whoever was cut off says the last one that they have.
3. They get what follows, over whichever transport they like.

\`\`\`js
import { createClient } from "sluice/client";

const generation = createClient({ url }).generate({ messages });
for await (const { seq, data } of generation) {
  console.log(seq, data.choices[0]?.delta?.content);
}
\`\`\`

| transport | connections | resumes after |
| --- | --- | --- |
| SSE | one for each answer | \`Last-Event-ID\` |
| WebSocket | one for all | \`starting_after\` |

Cut the line in the middle of this sentence, and the words after it come all the same, each of them once.
`;

export const THOUGHT =
  "The question is about resuming. I should say what a position is, show the few lines that it takes, and compare the two transports in a table. ";

/** An upstream that streams deltas as a test has them. */
export function startTeller(deltasFor: (prompt: string) => readonly object[]): Promise<PlainUpstream> {
  return startPlainUpstream((response, body) => {
    const { messages } = JSON.parse(body) as { messages: { content: string }[] };
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const delta of deltasFor(messages.at(-1)?.content ?? "")) response.write(chunkOf(delta, null));
    response.end(`${chunkOf({}, "stop")}data: [DONE]\n\n`);
  });
}

const chunkOf = (delta: object, finish: string | null): string =>
  `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`;

/** A text in pieces of so many UTF-16 code units, which tear whatever they tear. */
export const inPieces = (text: string, size: number): { content: string }[] =>
  Array.from({ length: Math.ceil(text.length / size) }, (_, at) => ({
    content: text.slice(at * size, (at + 1) * size),
  }));
