/** The description of the API as tests read it: its operations, its examples, and what its schemas say of a value. */
import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import { createParser } from "eventsource-parser";

export type Schema = Readonly<Record<string, unknown>>;

export interface Media {
  readonly schema: Schema;
  readonly example?: unknown;
  readonly examples?: Readonly<Record<string, { readonly value: unknown }>>;
}

type Content = Readonly<Record<string, Media>>;

export interface Answer {
  readonly description: string;
  readonly headers?: Readonly<Record<string, unknown>>;
  readonly content?: Content;
}

export interface Parameter {
  readonly name: string;
  readonly in: "path" | "query" | "header";
  readonly required?: boolean;
  readonly schema: Schema;
  readonly example?: unknown;
}

export interface Operation {
  readonly path: string;
  readonly method: string;
  readonly operationId: string;
  readonly security?: readonly unknown[];
  readonly parameters: readonly Parameter[];
  readonly requestBody?: { readonly required: boolean; readonly content: Content };
  /** By status; `4XX` for the upstream's own. */
  readonly responses: Readonly<Record<string, Answer>>;
}

interface Description {
  readonly openapi: string;
  readonly info: { readonly version: string };
  readonly paths: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, Schema>>;
    readonly responses: Readonly<Record<string, Answer>>;
  };
}

export const FILE = new URL("../../src/web/openapi.json", import.meta.url);
export const description = JSON.parse(readFileSync(FILE, "utf8")) as Description;

/** What a reference names, or the value itself. */
function named(value: unknown): unknown {
  const { $ref } = value as { $ref?: string };
  if ($ref === undefined) return value;
  return $ref
    .slice("#/".length)
    .split("/")
    .reduce<unknown>((from, name) => (from as Readonly<Record<string, unknown>>)[name], description);
}

type Raw = Omit<Operation, "path" | "method">;

export const OPERATIONS: readonly Operation[] = Object.entries(description.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => {
    const raw = operation as Raw;
    const responses = Object.entries(raw.responses).map(([status, answer]) => [status, named(answer)]);
    return {
      ...raw,
      path,
      method: method.toUpperCase(),
      parameters: raw.parameters.map((parameter) => named(parameter) as Parameter),
      responses: Object.fromEntries(responses) as Operation["responses"],
    };
  }),
);

/** The examples of a body or an answer, by name. */
export const examplesOf = ({ example, examples = {} }: Media): [name: string, value: unknown][] => [
  ...(example === undefined ? [] : [["example", example] as [string, unknown]]),
  ...Object.entries(examples).map(([name, { value }]): [string, unknown] => [name, value]),
];

export const examplesIn = (content: Content): unknown[] =>
  Object.values(content).flatMap((media) => examplesOf(media).map(([, value]) => value));

/** The example of a parameter; that of an optional one stands in its schema, so that no page fills it in by itself. */
export const exampleOf = ({ example, schema }: Parameter): unknown =>
  example ?? (schema as { examples?: readonly unknown[] }).examples?.[0];

const ajv = new Ajv2020({ strict: false, allErrors: false, formats: { "uri-reference": true } });
ajv.addSchema(description as unknown as Schema, "openapi");

/** What a schema of the description has against a value; empty where it fits. */
export function objections(schema: Schema, value: unknown): string {
  const placed = JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"openapi#/')) as Schema;
  return ajv.validate(placed, value) ? "" : ajv.errorsText();
}

/** What the description has against the text of an answer of that type: of an event stream, against each event. */
export function objectionsToText(type: string, { schema }: Media, text: string): string {
  if (type === "application/json") return objections(schema, JSON.parse(text));
  if (type !== "text/event-stream") return objections(schema, text);
  return objections(schema["contentSchema"] as Schema, eventsOf(text));
}

/** The events of a stream, their data parsed where it is JSON. */
function eventsOf(text: string): unknown[] {
  const events: unknown[] = [];
  const parser = createParser({
    onEvent: ({ id, event, data }) =>
      events.push({
        ...(id === undefined ? {} : { id }),
        ...(event === undefined ? {} : { event }),
        data: data === "[DONE]" ? data : (JSON.parse(data) as unknown),
      }),
  });
  parser.feed(text);
  return events;
}
