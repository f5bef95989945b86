// One run: alarms first, then its curves, its results, and answers to read.

import { Answers } from "./answers.js";
import { Chart } from "./chart.js";
import { element, fill, keyed } from "./dom.js";
import { clock, valued } from "./numbers.js";
import { alarmBadges, alarms, badge, command, progress, stages, written } from "./parts.js";
import { percent } from "./words.js";

export class RunView {
  constructor(root, compare) {
    this.root = root;
    this.charts = new Map();
    this.head = element("div", { class: "head" });
    this.facts = element("dl", { class: "numbers facts" });
    this.attention = element("div", {});
    this.faults = element("div", {});
    this.figures = element("div", { class: "charts" });
    this.results = element("div", {});
    this.answers = new Answers();
    this.other = element("select", { id: "other", "aria-label": "Compare with another run" });
    this.other.addEventListener("change", () => this.other.value && compare(this.id, this.other.value));
    this.against = element("p", { class: "against" }, element("label", { for: "other" }, "Compare with "), this.other);
    root.append(this.head, this.attention, this.faults, this.facts, this.against, element("h2", {}, "Curves"), this.figures, this.results, this.answers.root);
  }

  update(detail, now, runs) {
    const { run } = detail;
    if (this.id !== run.id) {
      this.id = run.id;
      this.charts.clear();
      this.figures.replaceChildren();
      this.answers.forget();
    }
    fill(this.head, [run.label, run.path, run.life, run.said, run.stages, run.progress, run.left_s, run.step, run.report, run.serve, run.resume, run.alarms.length], () => this.headOf(run));
    fill(this.attention, [run.alarms, detail.ended_alarms], () => [alarms(run), detail.ended_alarms.length ? element("p", { class: "note" }, "Alarms that ended: " + detail.ended_alarms.join("; ")) : null]);
    fill(this.faults, [run.faults, run.behind_bytes > 0], () => [run.faults.length ? element("ul", { class: "note remarks" }, run.faults.map((text) => element("li", {}, text))) : null, run.behind_bytes ? element("p", { class: "note" }, "The logs are still being read. What is shown is their beginning.") : null]);
    const facts = [...run.numbers.map((number) => [number.title, valued(number.value, number.unit), number.bad]), ["time so far", clock(run.duration_s), false]];
    fill(this.facts, facts, () => facts.map(([name, value, bad]) => element("div", { class: bad ? "bad" : null }, element("dt", {}, name), element("dd", {}, value + (bad ? " ⚠" : "")))));
    this.facts.append(this.lastLine(run, now));
    const others = runs.filter((one) => one.id !== run.id).map((one) => [one.id, one.label]);
    this.against.hidden = !others.length;
    fill(this.other, others, () => [element("option", { value: "" }, "choose a run"), ...others.map(([value, label]) => element("option", { value }, label))]);
    showCharts(this.figures, this.charts, detail.charts);
    fill(this.results, [detail.evaluations, detail.highest], () => results(detail.evaluations, detail.highest));
    this.answers.update(detail.answers);
  }

  lastLine(run, now) {
    this.line ??= element("div", {}, element("dt", {}, "written"), element("dd", {}));
    this.line.lastChild.replaceChildren(written(run, now));
    return this.line;
  }

  headOf(run) {
    const links = element("p", { class: "links" }, run.report ? element("a", { href: `runs/${encodeURIComponent(run.id)}/report.html`, "data-key": "report" }, "Report of this run") : null);
    return [
      element("div", { class: "title-line" }, element("h2", {}, run.label), badge(run), ...alarmBadges(run)),
      element("p", { class: "muted" }, run.said, " ", element("span", { class: "path" }, run.path)),
      stages(run),
      progress(run),
      links,
      run.resume ? command(run.resume, "Go on with it") : null,
      run.serve ? command(run.serve, "Talk to its student") : null,
    ];
  }
}

export function showCharts(place, known, charts) {
  keyed(place, charts, (chart) => chart.name, (chart) => {
    const made = new Chart();
    known.set(chart.name, made);
    return made.root;
  }, (root, chart) => known.get(chart.name).update(chart));
  if (!charts.length && !place.textContent) place.append(element("p", { class: "note", "data-item": "none" }, "No step has been logged yet."));
}

function results(rows, highest) {
  if (!rows.length) return [];
  const names = ["evaluation", "policy", "problems", "accuracy", "95 % interval", "call ratio", "cut off", "failed calls"];
  const cell = (text, bad) => element("td", { class: bad ? "bad" : null }, text);
  const shareOf = (one, field) => cell(percent(one[field]), highest[field] !== null && one[field] > highest[field]);
  const row = (one) =>
    element("tr", {}, element("th", { scope: "row" }, one.name), cell(one.policy), cell(one.kind), cell(percent(one.accuracy)), cell(one.accuracy_ci95.map((share) => percent(share)).join(" – ")), cell(percent(one.call_ratio)), shareOf(one, "cut_off_share"), shareOf(one, "failed_call_share"));
  return [
    element("h2", {}, "Evaluations"),
    element("div", { class: "card scroll", tabIndex: 0, role: "region", "aria-label": "Evaluations" }, element("table", {}, element("caption", {}, "The last evaluation of each policy, by kind of problem."), element("thead", {}, element("tr", {}, names.map((name) => element("th", { scope: "col" }, name)))), element("tbody", {}, rows.map(row)))),
  ];
}
