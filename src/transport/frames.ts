/**
 * Server-to-client WebSocket frames (RFC 6455, section 5.2): unmasked, unfragmented text. Built here and not by `ws` so that
 * one encoded batch serves every reader and goes out in one write.
 */
import type { Log } from "../core/log.ts";
import { type EncodeBatch, shared } from "./encoding.ts";

const FIN_TEXT = 0x81;
const LENGTH_16 = 126;
const LENGTH_64 = 127;
const CLOSE_BRACE = 0x7d;

const headerBytes = (length: number): number => (length < LENGTH_16 ? 2 : length < 65_536 ? 4 : 10);

/** Writes the header of a text frame of `length` payload bytes; returns where the payload starts. */
function writeHeader(out: Buffer, at: number, length: number): number {
  out[at] = FIN_TEXT;
  if (length < LENGTH_16) {
    out[at + 1] = length;
    return at + 2;
  }
  if (length < 65_536) {
    out[at + 1] = LENGTH_16;
    return out.writeUInt16BE(length, at + 2);
  }
  out[at + 1] = LENGTH_64;
  return out.writeBigUInt64BE(BigInt(length), at + 2);
}

/** One message as a text frame. */
export function textFrame(message: object): Buffer {
  const text = Buffer.from(JSON.stringify(message));
  const out = Buffer.allocUnsafe(headerBytes(text.length) + text.length);
  text.copy(out, writeHeader(out, 0, text.length));
  return out;
}

/** What stands around generation, seq and payload in an `event` message. */
const OPENING = '{"type":"event","generation":"';
const SEQ = '","seq":';
const DATA = ',"data":';
const AROUND = OPENING.length + SEQ.length + DATA.length + 1;

/** The `event` messages of a batch, `data` being the upstream's own bytes. */
export const eventFrames: EncodeBatch = shared(({ id, log }, after, last) => {
  let size = 0;
  for (let seq = after + 1; seq <= last; seq++) {
    const length = messageBytes(id, log, seq);
    size += headerBytes(length) + length;
  }
  const out = Buffer.allocUnsafe(size);
  let at = 0;
  for (let seq = after + 1; seq <= last; seq++) at = writeEvent(out, at, id, log, seq);
  return out;
});

const messageBytes = (id: string, log: Log, seq: number): number =>
  AROUND + id.length + String(seq).length + log.stop(seq) - log.start(seq);

function writeEvent(out: Buffer, at: number, id: string, log: Log, seq: number): number {
  at = writeHeader(out, at, messageBytes(id, log, seq));
  at = writeAscii(out, at, OPENING);
  at = writeAscii(out, at, id);
  at = writeAscii(out, at, SEQ);
  at = writeAscii(out, at, String(seq));
  at = writeAscii(out, at, DATA);
  at += log.slab(seq).copy(out, at, log.start(seq), log.stop(seq));
  out[at] = CLOSE_BRACE;
  return at + 1;
}

/** By hand: for a few bytes, `Buffer.write` costs more than the payload's copy. */
function writeAscii(out: Buffer, at: number, text: string): number {
  for (let index = 0; index < text.length; index++) out[at++] = text.charCodeAt(index);
  return at;
}
