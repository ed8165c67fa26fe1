/**
 * Memory for logs: slabs of a few sizes, cut from arenas and used again. V8 counts what a program allocates beside its heap, and
 * marks the whole heap each time that has grown by some megabytes: with slabs of its own allocating, tokens alone had it do so every
 * second. Arenas are shared memory, which V8 does not count, and they are never let go: as many are kept as running and retained
 * logs have needed at most, which the settings bound.
 */

const LEAST_BYTES = 1024;
/** A larger slab is ordinary memory, for one payload that needs it. */
export const SLAB_BYTES = 65_536;
const ARENA_BYTES = 1_048_576;
const LEAST_SHIFT = Math.log2(LEAST_BYTES);

/** Slabs that are free, by size: 1 KiB, 2 KiB, 4 KiB and so on. */
const free: Buffer[][] = Array.from({ length: Math.log2(SLAB_BYTES) - LEAST_SHIFT + 1 }, () => []);
/** The arena that is being cut up, and how much of it is. */
let arena: Buffer = Buffer.alloc(0);
let cut = 0;

/** A slab of at least so many bytes. What it holds is left from earlier use. */
export function takeSlab(bytes: number): Buffer {
  if (bytes > SLAB_BYTES) return Buffer.allocUnsafeSlow(bytes);
  const size = sizeFor(bytes);
  return free[size]?.pop() ?? cutSlabs(size);
}

/** Gives a slab back, which nobody may look at any more. */
export function giveSlab(slab: Buffer): void {
  if (slab.length <= SLAB_BYTES) free[sizeFor(slab.length)]?.push(slab);
}

/** Which of the sizes is large enough. */
const sizeFor = (bytes: number): number =>
  bytes <= LEAST_BYTES ? 0 : 32 - Math.clz32(bytes - 1) - LEAST_SHIFT;

/** Cuts as much as one of the largest into slabs of one size; all but the one that is returned are free. */
function cutSlabs(size: number): Buffer {
  if (cut === arena.length) {
    arena = Buffer.from(new SharedArrayBuffer(ARENA_BYTES));
    cut = 0;
  }
  const bytes = LEAST_BYTES << size;
  const slabs = free[size] as Buffer[];
  const end = cut + SLAB_BYTES;
  for (; cut < end; cut += bytes) slabs.push(arena.subarray(cut, cut + bytes));
  return slabs.pop() as Buffer;
}
