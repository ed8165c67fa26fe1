/** A request as somebody else's terminal or program would make it. */

/** One word of a POSIX shell, whatever is in it. @param {string} text */
export const shellWord = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** The same value in Python's spelling. @param {unknown} value @returns {string} */
export function pythonLiteral(value, indent = "") {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}    `;
  const isList = Array.isArray(value);
  const entries = isList
    ? value.map((entry) => pythonLiteral(entry, inner))
    : Object.entries(value).map(([name, entry]) => `${JSON.stringify(name)}: ${pythonLiteral(entry, inner)}`);
  const [open, close] = isList ? "[]" : "{}";
  if (entries.length === 0) return open + close;
  return `${open}\n${entries.map((entry) => `${inner}${entry},\n`).join("")}${indent}${close}`;
}

/**
 * @param {object} request a chat completions body
 * @param {{url: string, needsKey: boolean}} gateway its address without a slash at the end
 */
export function asCurl(request, { url, needsKey }) {
  const lines = [
    `curl -N ${shellWord(`${url}/v1/chat/completions`)}`,
    "  -H 'content-type: application/json'",
    ...(needsKey ? [`  -H "authorization: Bearer $SLUICE_API_KEY"`] : []),
    `  -d ${shellWord(JSON.stringify({ ...request, stream: true }, null, 2))}`,
  ];
  return `${lines.join(" \\\n")}\n`;
}

export function asNode(request, { url, needsKey }) {
  const key = needsKey ? "process.env.SLUICE_API_KEY" : '"none"';
  return `import OpenAI from "openai";

const client = new OpenAI({ baseURL: ${JSON.stringify(`${url}/v1`)}, apiKey: ${key} });
const stream = await client.chat.completions.create(${JSON.stringify({ ...request, stream: true }, null, 2)});
for await (const { choices } of stream) process.stdout.write(choices[0]?.delta?.content ?? "");
`;
}

/** What the package knows by name; anything else goes beside it. */
const KNOWN = ["model", "messages", "temperature", "max_tokens"];

export function asPython(request, { url, needsKey }) {
  const key = needsKey ? 'os.environ["SLUICE_API_KEY"]' : '"none"';
  const isKnown = ([name]) => KNOWN.includes(name);
  const known = Object.fromEntries(Object.entries(request).filter(isKnown));
  const more = Object.fromEntries(Object.entries(request).filter((entry) => !isKnown(entry)));
  const hasMore = Object.keys(more).length > 0;
  return `${needsKey ? "import os\n\n" : ""}from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(`${url}/v1`)}, api_key=${key})
request = ${pythonLiteral(known)}
${hasMore ? `more = ${pythonLiteral(more)}\n` : ""}stream = client.chat.completions.create(**request, stream=True${hasMore ? ", extra_body=more" : ""})
for chunk in stream:
    for choice in chunk.choices[:1]:
        print(choice.delta.content or "", end="", flush=True)
`;
}

/** By the names of their buttons. */
export const COMMANDS = { curl: asCurl, Node: asNode, Python: asPython };
