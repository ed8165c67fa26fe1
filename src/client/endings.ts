/** How a run ends by the client's own judgement, and how long it waits where it does not. */
import { Loss, SluiceError } from "./errors.ts";
import type { Ending } from "./types.ts";

export const CANCELLED: Ending = {
  status: "cancelled",
  error: new SluiceError({ code: "cancelled", message: "It was cancelled here." }),
};

/** A refusal that names no time is given a second; a loss is left to the backoff. */
export const pauseOf = (error: Error): number | undefined => {
  if (error instanceof SluiceError) return error.retryAfterMs ?? 1000;
  return error instanceof Loss ? error.retryAfterMs : undefined;
};

export const lost = (cause: SluiceError): SluiceError =>
  new SluiceError(
    {
      code: "generation_lost",
      message: "The gateway no longer knows the generation: the rest of it is lost.",
    },
    { cause },
  );

export const unreachable = (cause: Error): SluiceError =>
  new SluiceError(
    { code: "connection_lost", message: "The gateway could not be reached again; the generation may go on." },
    { cause },
  );
