/** The scorecard: each fault, seen by each client through one gateway, and whether any of them was deceived. */
import { type Emulator, startEmulator } from "../../src/emulator/index.ts";
import { PythonClient, python } from "../support/python.ts";
import { NOBODY, startOverUpstreams, type UpstreamsGateway } from "../support/upstreams.ts";
import { CLIENTS, type Client, PYTHON, pythonClient, type Saw, versions } from "./clients.ts";
import { type Fault, TEXT, UNREACHABLE } from "./faults.ts";

export interface Row {
  readonly fault: Fault;
  /** In the order of `columns`; undefined for a client that could not be run. */
  readonly saw: readonly (Saw | undefined)[];
  /** What is wrong, one line for each client that was deceived or left without an answer. */
  readonly complaints: readonly string[];
}

export const columns: readonly string[] = [...Object.keys(CLIENTS), PYTHON];

/** Short enough for silence to be found out soon, long enough for a busy machine. */
const LIMITS = { SLUICE_FIRST_TOKEN_TIMEOUT_MS: "1500", SLUICE_STALL_TIMEOUT_MS: "1000" };

export class Scorecard {
  readonly #gateway: UpstreamsGateway;
  readonly #insecure: Emulator;
  readonly #python: PythonClient | undefined;
  readonly #clients: ReadonlyMap<string, Client>;

  private constructor(gateway: UpstreamsGateway, insecure: Emulator, process: PythonClient | undefined) {
    this.#gateway = gateway;
    this.#insecure = insecure;
    this.#python = process;
    this.#clients = new Map([
      ...Object.entries(CLIENTS),
      ...(process === undefined ? [] : ([[PYTHON, pythonClient(process)]] as const)),
    ]);
  }

  static async start(): Promise<Scorecard> {
    // A plain server, which does not speak the TLS that its address promises.
    const insecure = await startEmulator();
    const { refused, unnamed, insecure: tls } = UNREACHABLE;
    const gateway = await startOverUpstreams(
      [
        { name: "main", member: { models: ["sluice-demo"] } },
        { name: refused, baseUrl: NOBODY, member: { models: [refused] } },
        { name: unnamed, baseUrl: "http://nowhere.invalid/v1", member: { models: [unnamed] } },
        { name: tls, baseUrl: insecure.url.replace("http:", "https:"), member: { models: [tls] } },
      ],
      LIMITS,
    );
    const process = python === undefined ? undefined : new PythonClient(python, "sync");
    return new Scorecard(gateway, insecure, process);
  }

  async row(fault: Fault): Promise<Row> {
    const saw = await Promise.all(
      columns.map((name) => this.#clients.get(name)?.(this.#gateway, fault.request)),
    );
    const complaints = columns.flatMap((name, index) => {
      const complaint = complaintOf(fault, saw[index]);
      return complaint === undefined ? [] : [`${name}: ${complaint}`];
    });
    return { fault, saw, complaints };
  }

  async close(): Promise<void> {
    await this.#python?.close();
    await this.#gateway.close();
    await this.#insecure.close();
  }
}

function complaintOf({ must }: Fault, saw: Saw | undefined): string | undefined {
  if (saw === undefined) return undefined;
  if (must === "end well") {
    return saw.isSuccess && saw.text === TEXT ? undefined : `should have ended well, saw ${saw.says}`;
  }
  if (saw.isSuccess) return `took a failure for success: ${saw.says}`;
  if (!saw.isFailure) return `was not told of the failure: ${saw.says}`;
  return TEXT.startsWith(saw.text) ? undefined : `was given text that was never said: ${saw.text}`;
}

const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;

export function table(rows: readonly Row[]): string {
  const head = ["upstream fault", ...columns, "verdict"];
  return [
    line(head),
    line(head.map(() => "---")),
    ...rows.map(({ fault, saw, complaints }) =>
      line([
        fault.name,
        ...saw.map((seen) => seen?.says ?? "not run"),
        complaints.length === 0 ? (fault.must === "fail" ? "honest" : "honest: a good ending") : "**wrong**",
      ]),
    ),
  ].join("\n");
}

export function page(rows: readonly Row[]): string {
  const honest = rows.filter(({ complaints }) => complaints.length === 0).length;
  return `# Scorecard

An upstream can fail in many ways, and most of them look like an ordinary end of the stream to a client that does not look
closely. This page shows, for each of ${rows.length} faults, what five clients saw through Sluice. The verdict is *honest* where no
client took a failure for success and each was told of it. Only a stream that breaks off after its finish reason is a good
ending: the model had said all that it was going to say.

\`npm run scorecard\` runs it (\`-- --write\` writes this page); it exits with 1 where a verdict is wrong, and the tests run the
same rows. Failures before the first content keep an HTTP status on the stock route; after it they are an error event without
\`[DONE]\`. On \`/events\` and WebSocket they are always the ending. The SDKs run without retries of their own.

Asked with ${versions().join("; ")}.

**${honest} of ${rows.length} honest.**

${table(rows)}
`;
}
