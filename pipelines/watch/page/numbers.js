// Numbers, times and lives of runs as a reader sees them.

import { percent } from "./words.js";

const SPACE = "\u00a0";

// Returns a number with its unit.
export function valued(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "share") return percent(value);
  const size = Math.abs(value);
  const shown = size >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
  return unit === "1" ? shown : shown + SPACE + unit;
}

// Returns seconds as hours, minutes and seconds: 3725 as 1:02:05.
export function clock(seconds) {
  const whole = Math.round(seconds);
  const two = (number) => String(number).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

export function ago(seconds) {
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) if (seconds >= size) return Math.floor(seconds / size) + SPACE + unit + " ago";
  return seconds < 5 ? "now" : Math.floor(seconds) + SPACE + "s ago";
}

export const LIVES = { running: "running", elsewhere: "on another machine", finished: "finished", stopped: "stopped", new: "not begun", broken: "broken" };

export const count = (number, word) => number.toLocaleString("en") + " " + word + (number === 1 ? "" : "s");
