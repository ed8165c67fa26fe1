/** The word that was probably meant, if one is near enough: at most a third of the letters differ. */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  // What is longer than any name by more than the tolerance is no slip of the finger, and comparing it costs.
  let limit = word.length > 64 ? -1 : Math.floor(word.length / 3);
  for (const candidate of known) {
    const distance = editDistance(word, candidate);
    if (distance > limit) continue;
    best = candidate;
    limit = distance - 1;
  }
  return best;
}

/** Levenshtein's distance, row by row. */
function editDistance(from: string, to: string): number {
  let previous = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let row = 1; row <= from.length; row++) {
    const current = [row];
    for (let column = 1; column <= to.length; column++) {
      const changed = from[row - 1] === to[column - 1] ? 0 : 1;
      const above = previous[column] ?? 0;
      const left = current[column - 1] ?? 0;
      const diagonal = previous[column - 1] ?? 0;
      current.push(Math.min(above + 1, left + 1, diagonal + changed));
    }
    previous = current;
  }
  return previous[to.length] ?? 0;
}
