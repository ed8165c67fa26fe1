/** Reading JSON of unknown shape. */
export type JsonRecord = Record<string, unknown>;

export const isRecord = (value: unknown): value is JsonRecord =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The member of that name; undefined where there is none or `value` is no object. */
export const at = (value: unknown, name: string): unknown => (isRecord(value) ? value[name] : undefined);

/** The array of that name; empty where there is none. */
export function listAt(value: unknown, name: string): readonly unknown[] {
  const list = at(value, name);
  return Array.isArray(list) ? list : [];
}
