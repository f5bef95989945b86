// Two runs side by side: their numbers in columns, their curves in the same axes.

import { element, fill } from "./dom.js";
import { clock, valued } from "./numbers.js";
import { alarmBadges, badge, progress, stages } from "./parts.js";
import { showCharts } from "./run.js";
import { percent } from "./words.js";

export class ComparisonView {
  constructor(root) {
    this.charts = new Map();
    this.heads = element("div", { class: "pair" });
    this.table = element("div", {});
    this.figures = element("div", { class: "charts" });
    root.append(this.heads, this.table, element("h2", {}, "Curves"), element("p", { class: "key" }, "First run: solid lines, filled points. Second run: dashed lines, hollow points."), this.figures);
  }

  update(pair) {
    const runs = pair.map((one) => one.run);
    const ids = runs.map((run) => run.id).join(" ");
    if (ids !== this.ids) {
      this.ids = ids;
      this.charts.clear();
      this.figures.replaceChildren();
    }
    fill(this.heads, runs.map((run) => [run.id, run.life, run.said, run.alarms, run.stages, run.progress, run.step, run.left_s, run.result]), () => runs.map(headOf));
    const rows = rowsOf(pair);
    fill(this.table, rows, () => tableOf(runs, rows));
    showCharts(this.figures, this.charts, together(pair));
  }
}

function headOf(run, i) {
  const alarm = (one) => element("li", {}, element("b", {}, one.name), ": ", one.number, one.detail ? ` (${one.detail})` : "");
  return element("section", { class: "card half", "aria-label": run.label },
    element("div", { class: "title-line" }, element("h2", {}, element("a", { href: "#run=" + encodeURIComponent(run.id), "data-key": "run " + i }, run.label)), badge(run), ...alarmBadges(run)),
    run.alarms.length ? element("ul", { class: "bad" }, run.alarms.map(alarm)) : null,
    stages(run), progress(run), run.result ? element("p", {}, run.result) : null);
}

// Returns [name, first, second, difference, second is worse] for each number that a run has.
function rowsOf(pair) {
  const runs = pair.map((one) => one.run);
  const rows = runs[0].numbers.map((number, i) => [number.title, number, runs[1].numbers[i]]).map(([title, a, b]) => [title, valued(a.value, a.unit), valued(b.value, b.unit), difference(a.value, b.value, a.unit), a.bad, b.bad]);
  for (const key of evaluationKeys(pair)) {
    const [a, b] = pair.map((one) => one.evaluations.find((row) => keyOf(row) === key));
    if (a || b) rows.push([key, a ? `${percent(a.accuracy)} at ${percent(a.call_ratio)} call ratio` : "–", b ? `${percent(b.accuracy)} at ${percent(b.call_ratio)} call ratio` : "–", a && b ? difference(a.accuracy, b.accuracy, "share") : "–", false, false]);
  }
  return [...rows, ["time so far", clock(runs[0].duration_s), clock(runs[1].duration_s), "", false, false]];
}

const keyOf = (row) => `${row.policy}, ${row.kind}`;
const evaluationKeys = (pair) => Array.from(new Set(pair.flatMap((one) => one.evaluations.filter((row) => row.kind === "all").map(keyOf)))).map(String);

function difference(a, b, unit) {
  if (a === null || b === null) return "–";
  const sign = b > a ? "+" : b < a ? "−" : "";
  if (unit === "share") return sign + (100 * Math.abs(b - a)).toFixed(1) + " points";
  return sign + valued(Math.abs(b - a), unit);
}

function tableOf(runs, rows) {
  const head = element("tr", {}, ["", runs[0].label, runs[1].label, "second − first"].map((text) => element("th", { scope: "col" }, text)));
  const row = ([name, a, b, less, badA, badB]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", { class: badA ? "bad" : null }, a + (badA ? " ⚠" : "")), element("td", { class: badB ? "bad" : null }, b + (badB ? " ⚠" : "")), element("td", {}, less));
  return element("div", { class: "card scroll", tabIndex: 0, role: "region", "aria-label": "Numbers of both runs" }, element("table", {}, element("caption", {}, "The last numbers of both runs. Evaluations are those on all problems."), element("thead", {}, head), element("tbody", {}, rows.map(row))));
}

// Returns the charts that either run has, with the curves of both. Areas become lines: two stacks cannot be compared.
function together(pair) {
  const names = Array.from(new Set(pair.flatMap((one) => one.charts.map((chart) => chart.name))));
  return names.map((name) => {
    const both = pair.map((one) => one.charts.find((chart) => chart.name === name));
    const curves = both.flatMap((chart, run) => (chart?.curves ?? []).map((curve) => ({ ...curve, run, form: curve.form === "area" ? "line" : curve.form, label: `${run + 1}: ${curve.label}` })));
    const marks = (both[0] ?? both[1]).marks;
    return { ...(both[0] ?? both[1]), curves, marks };
  });
}
