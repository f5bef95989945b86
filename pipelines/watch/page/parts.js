// What all views show of a run: its life, its stages, its progress and its alarms.

import { drawn, element } from "./dom.js";
import { LIVES, ago, clock, count } from "./numbers.js";

export const badge = (run) => element("span", { class: "badge " + run.life, title: run.said }, LIVES[run.life] ?? run.life);

export function alarmBadges(run) {
  const names = Array.from(new Set(run.alarms.map((alarm) => alarm.name)));
  return names.map((name) => element("span", { class: "badge alarm" }, "alarm " + name));
}

export function stages(run) {
  if (!run.stages.length) return null;
  const chip = (stage) => {
    const state = stage.done ? "done" : stage.present ? "present" : "left";
    return element("li", { class: state, "aria-current": stage.present ? "step" : null }, element("span", { "aria-hidden": "true" }, { done: "✓ ", present: "▸ ", left: "" }[state]), stage.name, element("span", { class: "unseen" }, ", " + { done: "done", present: "at work or next", left: "to come" }[state]));
  };
  return element("ol", { class: "stages", "aria-label": "Stages" }, run.stages.map(chip));
}

// Returns the bar of GRPO steps, null where it has not begun.
export function progress(run) {
  if (run.progress === null || run.progress === undefined) return run.step ? element("p", { class: "steps" }, `step ${run.step.toLocaleString("en")}`) : null;
  const share = Math.round(100 * run.progress);
  const bar = drawn("svg", { class: "bar", width: "100%", height: 6, role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": share, "aria-label": "GRPO" }, drawn("rect", { class: "ground", width: "100%", height: 6, rx: 3 }), drawn("rect", { class: run.life === "stopped" ? "c-bad part" : "c-relay part", width: share + "%", height: 6, rx: 3 }));
  const left = run.left_s === null ? "" : `, ${clock(run.left_s)} left`;
  return element("div", { class: "progress" }, bar, element("p", { class: "steps" }, `step ${run.step.toLocaleString("en")} of ${run.steps.toLocaleString("en")}${left}`));
}

// Returns when the last line was written. `now` is the server's time in seconds; a running run that is silent for long is marked.
export function written(run, now) {
  if (run.written_at === null) return element("span", {}, "nothing written yet");
  const since = Math.max(now - run.written_at, 0);
  const silent = run.life === "running" && since > 900;
  return element("span", { class: silent ? "silent" : null }, `last line ${ago(since)}`);
}

export function alarms(run) {
  if (!run.alarms.length) return null;
  const one = (alarm) =>
    element("article", { class: "raised" },
      element("h3", {}, alarm.name, element("span", { class: "number" }, alarm.number)),
      alarm.detail ? element("p", {}, alarm.detail) : null,
      element("p", { class: "muted" }, alarm.where),
      element("p", {}, alarm.meaning),
      element("p", {}, element("b", {}, "What to do: "), alarm.remedy));
  return element("section", { class: "card attention", "aria-label": "Alarms" }, element("h2", {}, count(run.alarms.length, "open alarm")), run.alarms.map(one));
}

// Returns a command to copy.
export function command(text, what) {
  const button = element("button", { type: "button", "data-key": "copy " + what, "aria-label": "Copy the command: " + what }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection()?.selectAllChildren(code);
      button.textContent = "Marked";
    }
  });
  const code = element("code", {}, text);
  return element("p", { class: "command-line" }, element("span", {}, what), code, button);
}
