/** The clients of the scorecard: each asks for one streamed chat completion and says what it saw. */
import { spawnSync } from "node:child_process";
import OpenAI from "openai";
import { VERSION } from "openai/version";
import { type PythonClient, python } from "../support/python.ts";
import { askBy, textOf, type Way } from "../support/ways.ts";

export interface Saw {
  /** For the table. */
  readonly says: string;
  /** It took the answer for whole. */
  readonly isSuccess: boolean;
  /** It was told of a failure. */
  readonly isFailure: boolean;
  /** The text that it had by then. */
  readonly text: string;
}

export interface Place {
  readonly url: string;
  readonly wsUrl: string;
}

export type Client = (place: Place, request: Readonly<Record<string, unknown>>) => Promise<Saw>;

const code = (text: string | number | null | undefined): string => (text ? `\`${text}\`` : "");
const words = (...parts: readonly (string | undefined)[]): string =>
  parts.filter((part) => part !== undefined && part !== "").join(" ");

/** The stock wire, as its bytes say it. */
const stock: Client = async (place, request) => {
  const told = await askBy("stock SSE", place, request);
  const isSuccess = told.status === "completed";
  const failure =
    told.httpStatus === 200 && !isSuccess ? words("then error", code(told.code)) : code(told.code);
  return {
    says: words(code(told.httpStatus), isSuccess ? "" : failure, `[DONE]: ${isSuccess ? "yes" : "no"}`),
    isSuccess,
    isFailure: !isSuccess && (told.httpStatus !== 200 || told.endings === 1),
    text: textOf(told.payloads),
  };
};

/** Those whose ending is a message of its own. */
const resumable =
  (way: Way): Client =>
  async (place, request) => {
    const told = await askBy(way, place, request);
    const isSuccess = told.status === "completed" || told.status === "incomplete";
    return {
      says: words(told.status, code(told.code)),
      isSuccess,
      isFailure: told.status === "failed" && told.code !== undefined && told.endings === 1,
      text: textOf(told.payloads),
    };
  };

const node: Client = async ({ url }, request) => {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 0 });
  let text = "";
  try {
    const stream = await client.chat.completions.create({ ...(request as unknown as Asked), stream: true });
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
  } catch (thrown) {
    const { status, code: why } = thrown as InstanceType<typeof OpenAI.APIError>;
    const { name } = (thrown as Error).constructor;
    return { says: words(code(name), code(status), code(why)), isSuccess: false, isFailure: true, text };
  }
  return { says: "ended well", isSuccess: true, isFailure: false, text };
};

type Asked = OpenAI.Chat.ChatCompletionCreateParamsStreaming;

/** The package for Python, where there is one. */
export const pythonClient =
  (process: PythonClient): Client =>
  async ({ url }, { emulator, ...body }) => {
    const { text, error } = await process.ask({
      base_url: `${url}/v1`,
      what: "chat",
      how: "stream",
      body: { ...body, extra_body: { emulator } },
    });
    if (error === null) return { says: "ended well", isSuccess: true, isFailure: false, text };
    const says = words(code(error.class), code(error.status), code(error.code));
    return { says, isSuccess: false, isFailure: true, text };
  };

export const CLIENTS: Readonly<Record<string, Client>> = {
  "stock SSE": stock,
  "`/events`": resumable("/events"),
  WebSocket: resumable("WebSocket"),
  "openai for Node": node,
};
export const PYTHON = "openai for Python";

/** What was asked with, for the page. */
export function versions(): readonly string[] {
  const told = [`Node ${process.version}`, `openai for Node ${VERSION}`];
  if (python === undefined) return [...told, `${PYTHON}: not run, no Python with that package was found`];
  const script = "import sys, openai; print(openai.__version__, 'on Python', sys.version.split()[0])";
  const { stdout } = spawnSync(python, ["-c", script], { encoding: "utf8" });
  return [...told, `${PYTHON} ${stdout.trim()}`];
}
