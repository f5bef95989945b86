// All runs: a row each, those that need a look first.

import { sparkline } from "./chart.js";
import { element, fill, keyed } from "./dom.js";
import { valued } from "./numbers.js";
import { alarmBadges, badge, progress, written } from "./parts.js";

const SPARKS = { accuracy: "student", call_ratio: "teacher", cut_off: "bad", failed_calls: "oracle", speed: "relay" };
const GROUPS = [
  ["attention", "Needs a look", (run) => run.alarms.length > 0 || run.life === "broken" || run.life === "stopped"],
  ["running", "Running", (run) => run.life === "running" || run.life === "elsewhere"],
  ["others", "Finished and others", () => true],
];

export class FleetView {
  constructor(root, compare) {
    this.root = root;
    this.compare = compare;
    this.chosen = new Set();
    this.search = element("input", { type: "search", placeholder: "Find a run", "aria-label": "Find a run by its name" });
    this.button = element("button", { type: "button", id: "compare", disabled: true }, "Compare two runs");
    this.search.addEventListener("input", () => this.state && this.update(this.state, this.now));
    this.button.addEventListener("click", () => this.compare(...this.chosen));
    this.remarks = element("div", {});
    this.groups = GROUPS.map(([name, title]) => {
      const list = element("ul", { class: "runs" });
      const heading = element("h2", {}, title);
      return { list, heading, root: element("section", { class: "group " + name, "aria-label": title }, heading, list) };
    });
    root.append(element("div", { class: "filters" }, this.search, this.button), this.remarks, ...this.groups.map((group) => group.root));
  }

  update(state, now) {
    Object.assign(this, { state, now });
    for (const id of this.chosen) if (!state.runs.some((run) => run.id === id)) this.chosen.delete(id);
    const words = this.search.value.toLowerCase().trim();
    const left = state.runs.filter((run) => (run.label + " " + run.name).toLowerCase().includes(words));
    const empty = state.runs.length ? (left.length ? [] : ["No run has such a name."]) : [`There is no run below ${state.folders.join(", ")} yet. This page shows one as soon as it begins.`];
    fill(this.remarks, [...state.remarks, ...empty], (remarks) => remarks.map((text) => element("p", { class: "note" }, text)));
    const taken = new Set();
    GROUPS.forEach(([, title, belongs], i) => {
      const runs = left.filter((run) => !taken.has(run.id) && belongs(run));
      for (const run of runs) taken.add(run.id);
      const { list, heading, root } = this.groups[i];
      root.hidden = !runs.length;
      heading.textContent = `${title} (${runs.length})`;
      keyed(list, runs, (run) => run.id, (run) => this.row(run), (row, run) => this.fillRow(row, run));
    });
    this.tell();
  }

  row(run) {
    const box = element("input", { type: "checkbox", "aria-label": "Compare " + run.label });
    box.addEventListener("change", () => {
      if (box.checked) this.chosen.add(run.id);
      else this.chosen.delete(run.id);
      this.tell();
    });
    const link = element("a", { href: "#run=" + encodeURIComponent(run.id) }, run.label);
    const row = element("li", { class: "card run" }, element("div", { class: "name" }, box, element("h3", {}, link)), element("div", { class: "life" }), element("div", { class: "how-far" }), element("dl", { class: "sparks" }), element("p", { class: "times" }));
    return row;
  }

  fillRow(row, run) {
    const [, life, far, numbers, times] = row.children;
    fill(life, [run.life, run.said, run.alarms], () => [badge(run), ...alarmBadges(run)]);
    const present = run.stages.find((stage) => stage.present)?.name ?? null;
    fill(far, [present, run.progress, run.step, run.left_s, run.life, run.result], () => [present ? element("p", { class: "stage" }, present) : null, run.life === "finished" ? null : progress(run), run.result ? element("p", { class: "result" }, run.result) : null, run.life === "broken" || run.life === "elsewhere" ? element("p", { class: "muted" }, run.said) : null]);
    fill(numbers, run.numbers, () => run.numbers.map((number) => element("div", { class: number.bad ? "bad" : null }, element("dt", {}, number.title), element("dd", {}, sparkline(number.spark, SPARKS[number.name], number.unit), element("span", {}, valued(number.value, number.unit) + (number.bad ? " ⚠" : "")), number.bad ? element("span", { class: "unseen" }, "beyond its alarm's threshold") : null))));
    times.replaceChildren(written(run, this.now));
  }

  tell() {
    const { size } = this.chosen;
    this.button.disabled = size !== 2;
    this.button.textContent = size === 2 ? "Compare these two runs" : size > 2 ? `Compare: choose two, not ${size}` : "Compare: choose two runs";
  }
}
