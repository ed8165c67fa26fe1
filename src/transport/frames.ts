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

/** The `event` messages of a batch, `data` being the upstream's own bytes. */
export const eventFrames: EncodeBatch = shared(({ id, log }, after, last) => {
  const opening = `{"type":"event","generation":"${id}","seq":`;
  const heads: string[] = [];
  let size = 0;
  for (let seq = after + 1; seq <= last; seq++) {
    const head = `${opening}${seq},"data":`;
    const length = head.length + log.stop(seq) - log.start(seq) + 1;
    heads.push(head);
    size += headerBytes(length) + length;
  }
  const out = Buffer.allocUnsafe(size);
  let at = 0;
  for (let seq = after + 1; seq <= last; seq++)
    at = writeEvent(out, at, heads[seq - after - 1] as string, log, seq);
  return out;
});

function writeEvent(out: Buffer, at: number, head: string, log: Log, seq: number): number {
  const start = log.start(seq);
  const stop = log.stop(seq);
  at = writeHeader(out, at, head.length + stop - start + 1);
  at += out.write(head, at, "latin1");
  at += log.slab(seq).copy(out, at, start, stop);
  out[at] = CLOSE_BRACE;
  return at + 1;
}
