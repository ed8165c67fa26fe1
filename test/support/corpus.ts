/** The recorded answers of real providers; not part of the project, so tests that need them are skipped by name without. */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const CORPUS =
  process.env["SLUICE_CORPUS"] ?? fileURLToPath(new URL("../../../shared/corpus", import.meta.url));

export const hasCorpus = existsSync(`${CORPUS}/index.json`);

export interface Recording {
  readonly file: string;
  readonly kind: "chat" | "completions" | "errors" | "responses";
  readonly status: number;
  readonly features: readonly string[];
  readonly oddities: readonly string[];
  readonly fidelity: string;
  readonly bytes: number;
  readonly events: number;
  readonly json_events: number;
  readonly done_sentinel: boolean;
  readonly max_line_bytes?: number;
  readonly response_headers: Readonly<Record<string, string>>;
  readonly request: { readonly n?: number | null; readonly stream?: boolean };
  readonly expected: {
    readonly text?: string;
    readonly text_by_choice?: Readonly<Record<string, string>>;
    readonly finish_reasons?: Readonly<Record<string, readonly string[]>>;
    readonly usage?: unknown;
  };
}

export function recordings(kind: Recording["kind"]): readonly Recording[] {
  if (!hasCorpus) return [];
  const { files } = JSON.parse(readFileSync(`${CORPUS}/index.json`, "utf8")) as { files: Recording[] };
  return files.filter((file) => file.kind === kind);
}

export const bodyOf = (recording: Recording): Buffer => readFileSync(`${CORPUS}/${recording.file}`);
