import type { Observer } from "./ports.ts";

const nothing = (): void => {};

/** An observer that looks away. */
export const silence: Observer = {
  refused: nothing,
  admitted: nothing,
  upstreamAnswered: nothing,
  upstreamRetried: nothing,
  firstContent: nothing,
  content: nothing,
  delivered: nothing,
  unread: nothing,
  ended: nothing,
  readerJoined: nothing,
  readerLeft: nothing,
  resumed: nothing,
  slowReader: nothing,
  connectionOpened: nothing,
  connectionClosed: nothing,
};
