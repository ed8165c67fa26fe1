/** Where a line was cut, marked in the Markdown that came over it. */

/** Stands in the Markdown for a seam. A symbol, so that emphasis beside it is read as beside any punctuation. */
export const SEAM = "\u2bff";

/** Between two words: nowhere else it is sure that no syntax of Markdown is torn. */
const BETWEEN_WORDS = /(?<=[\p{L}\p{N},.;:!?])[ \n](?=\p{L})/u;

/**
 * The Markdown with a seam between the first two words behind each offset. Where these have not come yet, there is none.
 * @param {string} markdown
 * @param {readonly number[]} offsets in ascending order
 */
export function withSeams(markdown, offsets) {
  let sewn = "";
  let from = 0;
  for (const offset of offsets) {
    // One character earlier, so that the word before the offset can be seen.
    const start = Math.max(from, offset - 1, 0);
    const gap = BETWEEN_WORDS.exec(markdown.slice(start));
    if (gap === null) break;
    const place = start + gap.index + 1;
    sewn += markdown.slice(from, place) + SEAM;
    from = place;
  }
  return sewn + markdown.slice(from);
}

/** @param {string} text */
export const seamsIn = (text) => text.split(SEAM).length - 1;
