import type { Observer } from "./ports.ts";

const nothing = (): undefined => undefined;

/** An observer that looks away. */
export const silence: Observer = {
  refused: nothing,
  accepted: nothing,
  admitted: nothing,
  attempted: nothing,
  attemptEnded: nothing,
  upstreamAnswered: nothing,
  upstreamRetried: nothing,
  upstreamHealth: nothing,
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
