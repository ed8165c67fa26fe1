/**
 * The kinds of value that a setting can have. Each reads the text of a variable or a flag, and says what the config file
 * holds in its place, so that all three are judged by the same rule.
 */
import { z } from "zod";
import type { Complain } from "./types.ts";

/** A value as it was given: the text, or the entries where the config file has an array. */
export type Given = string | readonly string[];

export interface Kind<T> {
  /** What the help calls the value: `N`, `URL`. Empty for a flag that stands alone. */
  readonly argument: string;
  /** What a config file holds. */
  readonly member: z.ZodType<string | number | boolean | string[]>;
  readonly read: (given: Given, complain: Complain) => T;
}

/** Node fires a timer with a longer delay at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

export function scalar<T>(argument: string, read: (text: string, complain: Complain) => T): Kind<T> {
  return { argument, member: z.string(), read: (given, complain) => read(String(given), complain) };
}

/** Comma-separated in a variable or a flag, an array in the config file. */
export function list<T>(
  argument: string,
  read: (entries: readonly string[], complain: Complain) => readonly T[],
): Kind<readonly T[]> {
  return {
    argument,
    member: z.array(z.string()),
    read: (given, complain) => {
      const entries = typeof given === "string" ? given.split(",") : given;
      return read(
        entries.map((entry) => entry.trim()),
        complain,
      );
    },
  };
}

export function integer(min: number, max = Number.MAX_SAFE_INTEGER, argument = "N"): Kind<number> {
  const read = (text: string, complain: Complain): number => {
    const value = Number(text);
    // Plain digits only: Number() alone would also take "", "1e3" and "0x10".
    if (/^\d+$/.test(text) && value >= min && value <= max) return value;
    throw complain(`${quote(text)} is not a whole number from ${min} to ${max}`);
  };
  return { ...scalar(argument, read), member: z.number() };
}

export const milliseconds = (min: number): Kind<number> => integer(min, LONGEST_TIMER_MS, "MS");
export const bytes = (min: number, max?: number): Kind<number> => integer(min, max, "BYTES");

export function oneOf<const W extends string>(words: readonly W[]): Kind<W> {
  return scalar("WORD", (text, complain) => {
    const found = words.find((word) => word === text);
    if (found === undefined) throw complain(`${quote(text)} is none of ${words.join(", ")}`);
    return found;
  });
}

export function boolean(): Kind<boolean> {
  const read = (text: string, complain: Complain): boolean => {
    if (text === "true" || text === "1") return true;
    if (text === "false" || text === "0") return false;
    throw complain(`${quote(text)} is neither true nor false`);
  };
  return { ...scalar("", read), member: z.boolean() };
}

export function text(argument: string): Kind<string> {
  return scalar(argument, (value, complain) => {
    if (value === "") throw complain("must not be empty");
    return value;
  });
}

/** A value that goes out in a header, so that what cannot stand there is found before the first request. */
export function headerSecret(value: string, complain: Complain): string {
  if (value === "") throw complain("must not be empty");
  if (/[^\x21-\x7e]/.test(value)) throw complain("holds characters that an HTTP header cannot carry");
  return value;
}

/** Only for settings that are no secrets. */
export function quote(value: string): string {
  return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}...` : value);
}
