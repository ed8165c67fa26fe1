/**
 * An answer as it comes, over as many connections as it takes: `node docs/examples/node-client.mjs`. Stopped with Ctrl-C, it
 * says how to go on in another process: `node docs/examples/node-client.mjs GENERATION AFTER`.
 */
import { createClient, textOf } from "sluice/client";

const [id, after = "0"] = process.argv.slice(2);
const client = createClient({ url: process.env.SLUICE_URL ?? "http://127.0.0.1:8000" });
const request = { messages: [{ role: "user", content: "Tell me of locks." }] };
const onConnection = ({ error }) => {
  if (error !== undefined) console.error("\nThe connection is lost, and made again.");
};
const generation =
  id === undefined
    ? client.generate(request, { onConnection })
    : client.follow(id, { after: Number(after), onConnection });
process.once("SIGINT", () => generation.leave());

let printed = Number(after);
try {
  for await (const { seq, data } of generation) {
    process.stdout.write(textOf(data));
    printed = seq;
  }
  if ((await generation.ended).status === "left") {
    console.error(`\nGo on with: node docs/examples/node-client.mjs ${generation.generation} ${printed}`);
    process.exitCode = 130;
  } else {
    console.log();
  }
} catch (error) {
  // Whatever did not end well throws, after all that had come.
  console.error(`\nThe answer is not whole: ${error.message}`);
  process.exitCode = 1;
}
client.close();
