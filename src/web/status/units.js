/** Figures in words. Each takes a number, or null where there is none, which is a dash. */

export const NONE = "–";

/** @param {number} most digits after the point */
const plain = (most) => new Intl.NumberFormat("en-US", { maximumFractionDigits: most });
const whole = plain(0);
const tenths = plain(1);
const hundredths = plain(2);

/** @typedef {(value: number | null) => string} Unit */

/** Three figures or so: 0.42, 4.2, 42, 4,200. @param {number} value */
const short = (value) => (value < 1 ? hundredths : value < 100 ? tenths : whole).format(value);

/** @param {(value: number) => string} say @returns {Unit} */
const orNone = (say) => (value) => (value === null || !Number.isFinite(value) ? NONE : say(value));

export const count = orNone((value) => whole.format(value));
export const rate = orNone(short);
/** Takes a share from 0 to 1. */
export const percent = orNone((value) => `${tenths.format(value * 100)} %`);

/** Takes seconds. */
export const duration = orNone((seconds) => {
  if (seconds < 1) return `${short(seconds * 1000)} ms`;
  return seconds < 100 ? `${hundredths.format(seconds)} s` : `${whole.format(seconds)} s`;
});

export const bytes = orNone((value) => {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = value < 1 ? 0 : Math.min(Math.floor(Math.log10(value) / 3), units.length - 1);
  const scaled = value / 1000 ** power;
  return `${(scaled < 10 && power > 0 ? tenths : whole).format(scaled)} ${units[power]}`;
});

/** Takes seconds; the two largest units. */
export const uptime = orNone((seconds) => {
  const parts = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [Math.floor(seconds) % 60, "s"],
  ];
  const first = parts.findIndex(([amount]) => Number(amount) > 0);
  if (first < 0) return "0 s";
  return parts
    .slice(first, first + 2)
    .filter(([amount]) => Number(amount) > 0)
    .map((part) => part.join(" "))
    .join(" ");
});
