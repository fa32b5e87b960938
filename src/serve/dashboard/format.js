// How figures are written. What is not known is a dash.

const LOCALE = "en";
const wholes = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });
const times = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const days = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const dates = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
});

export const known = value => typeof value === "number" && Number.isFinite(value);
export const NONE = "–";

export const whole = value => (known(value) ? wholes.format(value) : NONE);
export const decimal = (value, digits = 4) => (known(value) ? value.toFixed(digits) : NONE);
export const percent = (value, digits = 1) => (known(value) ? `${(value * 100).toFixed(digits)} %` : NONE);
export const clock = ms => (known(ms) && Math.abs(ms) < 8.64e15 ? times.format(ms) : NONE);
export const date = ms => (known(ms) && Math.abs(ms) < 8.64e15 ? dates.format(ms) : NONE);
export const day = ms => (known(ms) && Math.abs(ms) < 8.64e15 ? days.format(ms) : NONE);
export const plural = (count, one, many = `${one}s`) => `${whole(count)} ${count === 1 ? one : many}`;

/** Events a second: three digits are enough to read while they move. */
export function rate(value) {
  if (!known(value)) return NONE;
  return value > 0 && value < 10 ? value.toFixed(1) : wholes.format(value);
}

/** A time span. A clock that was set back makes none negative. */
export function span(ms) {
  if (!known(ms)) return NONE;
  const positive = Math.max(0, ms);
  if (positive < 10) return `${positive.toFixed(1)} ms`;
  if (positive < 1000) return `${Math.round(positive)} ms`;
  const seconds = positive / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`;
}

export function bytes(value) {
  if (!known(value)) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, value)) / 10)));
  const scaled = value / 1024 ** power;
  return `${scaled.toFixed(scaled < 10 && power ? 1 : 0)} ${units[power]}`;
}

/** A name of the program's as words. */
export const words = name => String(name).replaceAll("_", " ");

export const named = entry => entry.title ?? entry.id ?? entry.item;
