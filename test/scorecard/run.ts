/** `npm run scorecard`: prints the table; `--write` also writes docs/SCORECARD.md. Exits with 1 where a verdict is wrong. */
import { mkdirSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { forEach } from "../support/replay.ts";
import { page, type Row, Scorecard, table } from "./card.ts";
import { versions } from "./clients.ts";
import { FAULTS, type Fault } from "./faults.ts";

const DOCS = new URL("../../docs/", import.meta.url);

/** Most of a row's time is a silence. */
const ROWS_AT_ONCE = 4;

/** On a terminal one line that changes; elsewhere nothing, so that a file gets the table alone. */
function progress(done: number, name: string): void {
  if (!process.stderr.isTTY) return;
  const text = done === FAULTS.length ? "" : `${done + 1} of ${FAULTS.length}: ${name}`;
  process.stderr.write(`\r\x1b[K${text}`);
}

const { values } = parseArgs({ options: { write: { type: "boolean", default: false } } });
const card = await Scorecard.start();
const found = new Map<Fault, Row>();
await forEach(FAULTS, ROWS_AT_ONCE, async (fault) => {
  progress(found.size, fault.name);
  found.set(fault, await card.row(fault));
});
progress(found.size, "");
await card.close();
// In the order of the list, not in that of their ends.
const rows = FAULTS.flatMap((fault) => found.get(fault) ?? []);

console.log(`${versions().join("; ")}\n\n${table(rows)}\n`);
const complaints = rows.flatMap(({ fault, complaints }) =>
  complaints.map((text) => `${fault.name}: ${text}`),
);
for (const complaint of complaints) console.log(complaint);
const wrong = rows.filter((row) => row.complaints.length > 0).length;
console.log(`${rows.length - wrong} of ${rows.length} honest`);
if (values.write) {
  mkdirSync(DOCS, { recursive: true });
  writeFileSync(new URL("SCORECARD.md", DOCS), page(rows));
}
process.exitCode = wrong === 0 ? 0 : 1;
