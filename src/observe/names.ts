/** The most of a model's name that is repeated in a log line or a span: a client may send megabytes of it. */
const MAX_NAME_LENGTH = 256;
const CONTROLS = /\p{Cc}/gu;

/** A name that a client or an upstream gave, fit to be repeated: cut short, and on one line. */
export const shownName = (name: string): string => name.slice(0, MAX_NAME_LENGTH).replace(CONTROLS, " ");
