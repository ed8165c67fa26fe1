/** One small moving plot: uPlot, in the page's colours, from some minutes ago until now. */

/** @typedef {import("./panels.js").Panel} Panel */
/** @typedef {import("./panels.js").Line} Line */
/** @typedef {number | null} Figure */

/** How far back a plot goes. Seconds. */
export const SPAN_S = 180;
const MINUTE_S = 60;
const FONT = "11px system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif";
/** The limit is drawn once a value comes so near to it; else it would press every line to the bottom. */
const NEAR = 0.5;
/** Room above the highest value. */
const HEADROOM = 1.12;

/** The library's one global: it is loaded as a script of its own. @type {any} */
const UPlot = globalThis["uPlot"];
const canvases = UPlot.sync("status");

/** @param {string} name of a custom property of the style sheet */
const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export class Plot {
  #panel;
  #onPoint;
  #plot;
  /** Monotonic seconds. @type {number[]} */
  #times = [];
  /** @type {Figure[][]} */
  #columns;
  /** @type {Figure} */
  #limit = null;

  /**
   * @param {HTMLElement} place
   * @param {Panel} panel
   * @param {(ago: Figure, values: readonly Figure[]) => void} onPoint told which moment is pointed at; null for none
   */
  constructor(place, panel, onPoint) {
    this.#panel = panel;
    this.#onPoint = onPoint;
    this.#columns = panel.lines.map(() => []);
    const size = () => ({ width: place.clientWidth, height: place.clientHeight });
    this.#plot = new UPlot({ ...size(), ...this.#options() }, [[], ...this.#columns], place);
    new ResizeObserver(() => this.#plot.setSize(size())).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#plot.redraw());
  }

  /**
   * @param {number} at monotonic seconds, later than before
   * @param {readonly Figure[]} values one a line; null leaves a gap
   * @param {Figure} limit
   */
  add(at, values, limit) {
    this.#limit = limit;
    this.#times.push(at);
    for (const [n, column] of this.#columns.entries()) column.push(values[n] ?? null);
    // One older point stays, so that the line enters at the edge.
    const old = this.#times.findIndex((time) => time >= at - SPAN_S) - 1;
    if (old > 0) for (const column of [this.#times, ...this.#columns]) column.splice(0, old);
    this.#plot.setData([this.#times, ...this.#columns]);
  }

  /** The lowest and the highest value of the foremost line, for who does not see it. @returns {[Figure, Figure]} */
  get extremes() {
    const values = (this.#columns[0] ?? []).filter((value) => value !== null);
    return values.length > 0 ? [Math.min(...values), Math.max(...values)] : [null, null];
  }

  #options() {
    const { lines } = this.#panel;
    return {
      padding: [8, 6, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: false, y: false },
        sync: { key: canvases.key },
        points: { size: 7, width: 0, fill: (_plot, index) => token(`line-${lines[index - 1]?.colour}`) },
      },
      scales: {
        x: { time: false, range: () => this.#timeRange() },
        y: { range: (_plot, _least, most) => [0, this.#top(most)] },
      },
      axes: [this.#timeAxis(), this.#valueAxis()],
      series: [{}, ...lines.map((line, n) => this.#series(line, lines.length === 1, n))],
      // The foremost line is drawn last.
      hooks: { setCursor: [() => this.#point()], draw: [(plot) => this.#drawLimit(plot)] },
    };
  }

  #timeRange() {
    const now = this.#times.at(-1) ?? 0;
    return [now - SPAN_S, now];
  }

  /** @param {Figure} most the highest value shown */
  #top(most) {
    const { least } = this.#panel;
    const limit = this.#limit ?? Number.POSITIVE_INFINITY;
    const highest = Math.max(most ?? 0, 0);
    return Math.max(least, highest * HEADROOM, highest >= limit * NEAR ? limit * HEADROOM : 0);
  }

  /** @param {Line} line @param {boolean} isAlone @param {number} n */
  #series({ colour }, isAlone, n) {
    const stroke = () => token(`line-${colour}`);
    return {
      stroke,
      width: n === 0 ? 2 : 1.5,
      ...(isAlone ? { fill: () => token(`fill-${colour}`) } : {}),
      points: {
        show: true,
        size: 5,
        width: 0,
        fill: stroke,
        filter: (plot, index) => {
          const last = plot.data[index].length - 1;
          return last >= 0 && plot.data[index][last] !== null ? [last] : [];
        },
      },
    };
  }

  #axis() {
    return {
      font: FONT,
      stroke: () => token("soft"),
      grid: { stroke: () => token("edge"), width: 1 },
      ticks: { show: false },
      border: { show: false },
    };
  }

  /** Marks stand at whole minutes ago: the lines move, the marks do not. */
  #timeAxis() {
    const ago = (time) => Math.round(((this.#times.at(-1) ?? 0) - time) / MINUTE_S);
    return {
      ...this.#axis(),
      size: 20,
      gap: 4,
      splits: (_plot, _axis, _from, to) =>
        Array.from({ length: SPAN_S / MINUTE_S + 1 }, (_, n) => to - SPAN_S + n * MINUTE_S),
      values: (_plot, times) =>
        times.map((time) => (time === null ? null : ago(time) === 0 ? "now" : `−${ago(time)} min`)),
      filter: (_plot, times) => times.map((time, n) => (n === 0 ? null : time)),
      align: 2,
    };
  }

  #valueAxis() {
    const { unit } = this.#panel;
    return {
      ...this.#axis(),
      size: 52,
      gap: 6,
      space: 24,
      // Half a request is no mark of a scale that counts whole ones.
      values: (_plot, splits) => {
        const words = splits.map((split) => unit(split));
        return words.map((word, n) => (word === words[n - 1] ? "" : word));
      },
    };
  }

  #drawLimit(plot) {
    const limit = this.#limit;
    if (limit === null || limit > plot.scales.y.max) return;
    const { ctx, bbox } = plot;
    const y = Math.round(plot.valToPos(limit, "y", true));
    ctx.save();
    ctx.strokeStyle = token("warn");
    ctx.lineWidth = UPlot.pxRatio;
    ctx.setLineDash([4 * UPlot.pxRatio, 4 * UPlot.pxRatio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.restore();
  }

  #point() {
    const { idx } = this.#plot.cursor;
    if (typeof idx !== "number" || this.#plot.cursor.left < 0) return this.#onPoint(null, []);
    const now = this.#times.at(-1) ?? 0;
    this.#onPoint(
      now - (this.#times[idx] ?? now),
      this.#columns.map((column) => column[idx] ?? null),
    );
  }
}
