/** How a run ends: as the wire tells it, or by the client's own judgement. */
import { type ErrorObject, SluiceError } from "./errors.ts";
import type { Ending } from "./types.ts";

/** An ending as the wire tells it. */
export type ToldEnding = Omit<Ending, "error"> & { readonly error?: ErrorObject };

export const endingOf = ({ status, usage, error, timing }: ToldEnding): Ending => ({
  status,
  ...(usage && { usage }),
  ...(error && { error: new SluiceError(error) }),
  ...(timing && { timing }),
});

export const CANCELLED = endingOf({
  status: "cancelled",
  error: { code: "cancelled", message: "It was cancelled here." },
});

/** @param code one of the client's own */
export const failed = (code: string, message: string, cause: Error): Ending => ({
  status: "failed",
  error: new SluiceError({ code, message }, { cause }),
});
