import { randomFillSync } from "node:crypto";

const ID_BYTES = 18;
/** Drawn for many at once: a draw costs far more than its bytes. */
const pool = Buffer.allocUnsafeSlow(ID_BYTES * 128);
let used = pool.length;

/** An id that cannot be guessed: 144 random bits. */
export function newId(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const start = used;
  used += ID_BYTES;
  return `gen_${pool.toString("base64url", start, used)}`;
}
