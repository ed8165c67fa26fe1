/** A small plot of the gaps between events: how steadily an answer came, and where its line was cut. */
import { inWords, quantile } from "./figures.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 180;
const HEIGHT = 28;
const BARS = 90;
/** The highest bars may touch the edge: one long wait must not flatten the rest. */
const TOP_SHARE = 0.98;

const shape = (name, attributes) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

export class Trace {
  element = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "trace", role: "img" });
  #bars = shape("path", { class: "bars" });
  #cuts = shape("path", { class: "cuts" });
  #drawn = -1;

  constructor() {
    this.element.setAttribute("data-testid", "trace");
    this.element.setAttribute("preserveAspectRatio", "none");
    this.element.append(this.#bars, this.#cuts);
    this.draw({ gaps: [], torn: [], tokens: 0 });
  }

  /** @param {{gaps: readonly number[], torn: readonly number[], tokens: number}} record gaps in milliseconds; of the torn, the indices */
  draw({ gaps, torn, tokens }) {
    if (tokens === this.#drawn) return;
    this.#drawn = tokens;
    const width = Math.max(1, Math.ceil(gaps.length / BARS));
    const bars = Array.from({ length: Math.ceil(gaps.length / width) }, (_, index) =>
      Math.max(...gaps.slice(index * width, (index + 1) * width)),
    );
    const top = Math.max(1, quantile(bars, TOP_SHARE));
    const step = WIDTH / Math.max(BARS / 3, bars.length);
    const heightOf = (gap) => Math.max(1, Math.min(1, gap / top) * (HEIGHT - 2));
    this.#bars.setAttribute(
      "d",
      bars.map((gap, index) => `M${(index + 0.5) * step} ${HEIGHT}v${-heightOf(gap)}`).join(""),
    );
    this.#bars.setAttribute("stroke-width", String(step * 0.62));
    this.#cuts.setAttribute(
      "d",
      torn.map((at) => `M${(Math.floor(at / width) + 0.5) * step} 0V${HEIGHT}`).join(""),
    );
    this.element.setAttribute("aria-label", label(gaps, torn.length));
  }
}

function label(gaps, cuts) {
  if (gaps.length === 0) return "Gaps between events: none yet";
  const median = inWords(quantile(gaps, 0.5));
  const cut = cuts === 0 ? "" : `; cut or lost ${cuts === 1 ? "once" : `${cuts} times`}`;
  return `Gaps between events: median ${median}, longest ${inWords(Math.max(...gaps))}${cut}`;
}
