/** An answer as it comes, with the official `openai` package: `node docs/examples/node.mjs ["Tell me of locks."]` */
import OpenAI from "openai";

const url = process.env.SLUICE_URL ?? "http://127.0.0.1:8000";
const [content = "Tell me of locks."] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none" });

try {
  const stream = await client.chat.completions.create({
    model: process.env.SLUICE_MODEL ?? "sluice-demo",
    messages: [{ role: "user", content }],
    stream: true,
  });
  for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta.content ?? "");
  console.log();
} catch (error) {
  // A refusal, the error event of an answer that failed in its middle, or a connection that broke.
  console.error(`\nThe answer is not whole: ${error.message}`);
  process.exitCode = 1;
}
