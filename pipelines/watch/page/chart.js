// Curves with axes and units, and sparklines, as SVG. The arrow keys and the pointer read values out of a chart.

import { drawn, element } from "./dom.js";
import { valued } from "./numbers.js";

const [HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [190, 52, 12, 10, 34];
const DASHES = [null, "6 4"];

// Returns round numbers that divide 0..most or least..most into about `count` parts.
function ticks(least, most, count) {
  const rough = (most - least) / count || 1;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * size).find((one) => one >= rough * 0.999);
  const found = [];
  for (let at = Math.ceil(least / step - 1e-9) * step; at <= most + step * 1e-6; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}

function tickText(value, unit) {
  if (unit === "share") return Number((100 * value).toPrecision(4)) + "\u00a0%";
  const size = Math.abs(value);
  return size >= 10000 ? Number((value / 1000).toPrecision(3)) + "k" : String(Number(value.toPrecision(4)));
}

// A chart of one run, or of two: `chart.curves` with `run` 0 or 1.
export class Chart {
  constructor() {
    this.title = element("figcaption", {});
    this.said = element("p", { class: "said", role: "status" });
    this.key = element("p", { class: "key" });
    this.svg = drawn("svg", { role: "img", tabindex: "0", preserveAspectRatio: "none" });
    this.root = element("figure", { class: "card chart" }, this.title, this.key, this.svg, this.said);
    this.at = null;
    this.width = 0;
    this.svg.addEventListener("keydown", (event) => this.move(event));
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.choose(null));
    this.svg.addEventListener("blur", () => this.choose(null));
    new ResizeObserver(() => this.draw()).observe(this.root);
  }

  update(chart) {
    const text = JSON.stringify(chart);
    if (text === this.text) return;
    this.text = text;
    this.chart = chart;
    this.draw(true);
  }

  draw(anew = false) {
    const width = Math.round(this.root.clientWidth - 32);
    if (!this.chart || width <= 0 || (!anew && width === this.width)) return;
    this.width = width;
    const { chart } = this;
    const unit = chart.unit === "share" || chart.unit === "1" ? "" : ` (${chart.unit})`;
    this.title.textContent = chart.title + unit;
    this.stacked = this.stack(chart.curves);
    this.scale(width);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("height", HEIGHT);
    this.svg.setAttribute("aria-label", this.inWords());
    this.cursor = drawn("g", { class: "cursor" });
    this.svg.replaceChildren(...this.axes(width), ...this.stacked.flatMap((curve) => this.curve(curve)), ...this.marks(width), this.cursor);
    this.key.replaceChildren(...this.keys());
    this.choose(this.at);
  }

  // Areas lie on those before them.
  stack(curves) {
    const below = new Map();
    return curves.map((curve) => {
      if (curve.form !== "area") return curve;
      const points = curve.points.map((point) => {
        const from = below.get(point.step) ?? 0;
        below.set(point.step, from + Math.max(point.mean, 0));
        return { ...point, from, to: from + Math.max(point.mean, 0) };
      });
      return { ...curve, points };
    });
  }

  scale(width) {
    const points = this.stacked.flatMap((curve) => curve.points);
    const lows = this.stacked.flatMap((curve) => curve.points.map((point) => (curve.form === "area" ? point.from : point.low)));
    const highs = this.stacked.flatMap((curve) => curve.points.map((point) => (curve.form === "area" ? point.to : point.high)));
    let most = highs.reduce((a, b) => Math.max(a, b), -Infinity);
    let least = Math.min(0, lows.reduce((a, b) => Math.min(a, b), Infinity));
    // A threshold is drawn if it is near the curve: one far above would press the curve flat.
    this.drawnMarks = this.chart.marks.filter((mark) => mark.value <= Math.max(most * 3, this.chart.unit === "share" ? 0.12 : 0));
    most = Math.max(most, ...this.drawnMarks.map((mark) => mark.value));
    if (this.chart.unit === "share" && most > 0.6) most = Math.max(1, most);
    if (most <= least) most = least + (this.chart.unit === "share" ? 0.05 : 1);
    if (!(this.chart.unit === "share" && most === 1)) most += (most - least) * 0.06;
    if (least < 0) least -= (most - least) * 0.06;
    const steps = points.map((point) => point.step);
    const first = steps.reduce((a, b) => Math.min(a, b), Infinity);
    const last = steps.reduce((a, b) => Math.max(a, b), -Infinity);
    this.range = { least, most, first, last: last > first ? last : first + 1 };
    this.x = (step) => LEFT + ((step - first) / (this.range.last - first)) * (width - LEFT - RIGHT);
    this.y = (value) => HEIGHT - BOTTOM - ((value - least) / (most - least)) * (HEIGHT - BOTTOM - TOP);
  }

  axes(width) {
    const { least, most, first, last } = this.range;
    const across = ticks(least, most, 4).flatMap((value) => [
      drawn("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: this.y(value), y2: this.y(value) }),
      drawn("text", { class: "tick", x: LEFT - 7, y: this.y(value) + 4, "text-anchor": "end" }, tickText(value, this.chart.unit)),
    ]);
    const whole = ticks(first, last, Math.max(2, Math.min(6, Math.floor(width / 90)))).filter(Number.isInteger);
    const along = whole.map((step) => drawn("text", { class: "tick", x: this.x(step), y: HEIGHT - BOTTOM + 15, "text-anchor": "middle" }, step.toLocaleString("en")));
    const name = drawn("text", { class: "tick", x: (LEFT + width - RIGHT) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, this.chart.step_name);
    return [...across, ...along, name];
  }

  curve(curve) {
    const { points } = curve;
    const colour = "c-" + curve.colour;
    const line = (of) => points.map((point, i) => `${i ? "L" : "M"}${this.x(point.step).toFixed(1)},${this.y(of(point)).toFixed(1)}`).join("");
    const back = (of) => points.toReversed().map((point) => `L${this.x(point.step).toFixed(1)},${this.y(of(point)).toFixed(1)}`).join("");
    const dash = DASHES[curve.run ?? 0];
    if (curve.form === "area") return [drawn("path", { class: "area " + colour, d: line((p) => p.to) + back((p) => p.from) + "Z" })];
    if (curve.form === "points") {
      return points.flatMap((point) => [
        drawn("line", { class: "whisker " + colour, x1: this.x(point.step), x2: this.x(point.step), y1: this.y(point.low), y2: this.y(point.high) }),
        drawn("circle", { class: (curve.run ? "hollow dot " : "dot ") + colour, cx: this.x(point.step), cy: this.y(point.mean), r: 4.5 }),
      ]);
    }
    const band = points.some((point) => point.high > point.low) ? [drawn("path", { class: "band " + colour, d: line((p) => p.high) + back((p) => p.low) + "Z" })] : [];
    if (points.length === 1) return [drawn("circle", { class: "dot " + colour, cx: this.x(points[0].step), cy: this.y(points[0].mean), r: 3 })];
    return [...band, drawn("path", { class: "curve " + colour, d: line((p) => p.mean), "stroke-dasharray": dash })];
  }

  marks(width) {
    return this.drawnMarks.map((mark) => drawn("line", { class: "mark c-" + mark.colour, x1: LEFT, x2: width - RIGHT, y1: this.y(mark.value), y2: this.y(mark.value) }));
  }

  keys() {
    const curves = this.chart.curves.map((curve) =>
      element("span", {}, drawnKey(curve), curve.label));
    const marks = this.chart.marks.map((mark) =>
      element("span", {}, drawnKey({ ...mark, form: "mark" }), `${mark.label} (${valued(mark.value, this.chart.unit)})${this.drawnMarks.includes(mark) ? "" : ", far above"}`));
    return [...curves, ...marks];
  }

  inWords() {
    const said = this.chart.curves.map((curve) => {
      const [first, last] = [curve.points[0], curve.points.at(-1)];
      const highs = curve.points.map((point) => point.high).reduce((a, b) => Math.max(a, b));
      return `${curve.label}: ${valued(first.mean, this.chart.unit)} at step ${first.step}, ${valued(last.mean, this.chart.unit)} at step ${last.step}, at most ${valued(highs, this.chart.unit)}`;
    });
    return `${this.chart.title}. ${said.join(". ")}. The arrow keys read values.`;
  }

  steps() {
    return Array.from(new Set(this.chart.curves.flatMap((curve) => curve.points.map((point) => point.step)))).sort((a, b) => a - b);
  }

  move(event) {
    const steps = this.steps();
    const place = this.at === null ? steps.length : steps.indexOf(this.at);
    const to = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: steps.length - 1 }[event.key];
    if (event.key === "Escape") this.choose(null);
    if (to === undefined) return;
    event.preventDefault();
    this.choose(steps[Math.min(Math.max(to, 0), steps.length - 1)]);
  }

  point(event) {
    if (!this.chart || !this.x) return;
    const x = event.clientX - this.svg.getBoundingClientRect().left;
    const nearest = this.steps().reduce((best, step) => (Math.abs(this.x(step) - x) < Math.abs(this.x(best) - x) ? step : best));
    this.choose(nearest);
  }

  // Shows the values at a step; null shows none.
  choose(step) {
    this.at = step;
    if (!this.chart) return;
    const read = this.chart.curves.flatMap((curve) => {
      const point = step === null ? null : (curve.points.find((one) => one.step >= step) ?? null);
      const near = point && (curve.form !== "points" || point.step === step);
      return near ? [`${curve.label} ${valued(point.mean, this.chart.unit)}`] : [];
    });
    this.said.textContent = step === null ? "" : `step ${step.toLocaleString("en")}: ${read.join(", ")}`;
    this.cursor?.replaceChildren(...(step === null ? [] : [drawn("line", { x1: this.x(step), x2: this.x(step), y1: TOP, y2: HEIGHT - BOTTOM })]));
  }
}

function drawnKey({ colour, form, run }) {
  const svg = drawn("svg", { class: "sample", width: 20, height: 10, "aria-hidden": "true" });
  if (form === "area") svg.append(drawn("rect", { class: "area c-" + colour, x: 2, y: 1, width: 16, height: 8 }));
  else if (form === "points") svg.append(drawn("circle", { class: (run ? "hollow dot c-" : "dot c-") + colour, cx: 10, cy: 5, r: 4 }));
  else svg.append(drawn("line", { class: (form === "mark" ? "mark c-" : "curve c-") + colour, x1: 0, x2: 20, y1: 5, y2: 5, "stroke-dasharray": form === "mark" ? null : DASHES[run ?? 0] }));
  return svg;
}

const [SPARK_WIDTH, SPARK_HEIGHT] = [84, 22];

// Returns a small curve without axes; its number stands beside it. The height is at least a tenth for shares: so rare cases look rare.
export function sparkline(values, colour, unit) {
  if (values.length < 2) return null;
  const most = Math.max(...values, unit === "share" ? 0.1 : 1e-9);
  const least = Math.min(0, ...values);
  const x = (i) => 1 + (i / (values.length - 1)) * (SPARK_WIDTH - 2);
  const y = (value) => SPARK_HEIGHT - 2 - ((value - least) / (most - least)) * (SPARK_HEIGHT - 4);
  const path = values.map((value, i) => `${i ? "L" : "M"}${x(i).toFixed(1)},${y(value).toFixed(1)}`).join("");
  return drawn("svg", { class: "spark", width: SPARK_WIDTH, height: SPARK_HEIGHT, viewBox: `0 0 ${SPARK_WIDTH} ${SPARK_HEIGHT}`, "aria-hidden": "true" }, drawn("path", { class: "curve c-" + colour, d: path }));
}
