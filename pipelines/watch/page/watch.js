// Shows what the address names, and asks the server again and again. An answer that has not changed costs nothing.

import { ComparisonView } from "./comparison.js";
import { FleetView } from "./fleet.js";
import { LIVES, count } from "./numbers.js";
import { RunView } from "./run.js";
import { followsTheme } from "./theme.js";

const EVERY_MS = 2000;
const byId = (id) => document.getElementById(id);

const compare = (a, b) => {
  location.hash = `compare=${encodeURIComponent(a)}&with=${encodeURIComponent(b)}`;
};
const views = { fleet: new FleetView(byId("fleet"), compare), run: new RunView(byId("run"), compare), comparison: new ComparisonView(byId("comparison")) };

// The last answer to each address, with its tag, and how far the server's clock is from ours.
const answers = new Map();
let clockGap = 0;

class Gone extends Error {}

async function asked(path) {
  const known = answers.get(path);
  const response = await fetch(path, { headers: known ? { "If-None-Match": known.tag } : {}, cache: "no-store" });
  const date = Date.parse(response.headers.get("Date") ?? "");
  if (Number.isFinite(date)) clockGap = date - Date.now();
  if (response.status === 304 && known) return known.state;
  if (response.status === 404) throw new Gone("This run is not there any more, or was never there.");
  if (!response.ok) throw new Error(`The server answers with status ${response.status}.`);
  const state = await response.json();
  answers.set(path, { tag: response.headers.get("ETag"), state });
  return state;
}

const pathOf = (id) => "api/runs/" + encodeURIComponent(id);

// Returns which view the address names, with its runs.
function wanted() {
  const address = new URLSearchParams(location.hash.slice(1));
  if (address.get("run")) return { view: "run", ids: [address.get("run")] };
  if (address.get("compare") && address.get("with")) return { view: "comparison", ids: [address.get("compare"), address.get("with")] };
  return { view: "fleet", ids: [] };
}

let runs = [];

async function load() {
  const { view, ids } = wanted();
  const fleet = await asked("api/runs");
  runs = fleet.runs;
  const details = [];
  for (const id of ids) details.push(await asked(pathOf(id)));
  for (const path of answers.keys()) if (path !== "api/runs" && !ids.map(pathOf).includes(path)) answers.delete(path);
  if (JSON.stringify(wanted()) !== JSON.stringify({ view, ids })) return;
  const now = (Date.now() + clockGap) / 1000;
  show(view);
  if (view === "fleet") views.fleet.update(fleet, now);
  else if (view === "run") views.run.update(details[0], now, runs);
  else views.comparison.update(details);
  title(view, details);
  byId("watched").textContent = said(fleet);
  tell(fleet);
}

function show(view) {
  for (const name of Object.keys(views)) byId(name).hidden = name !== view;
}

function title(view, details) {
  const names = details.map((detail) => detail.run.label);
  byId("where").textContent = names.length ? "› " + names.join(" and ") : "";
  document.title = (names.length ? names.join(" and ") : `Runs (${runs.length})`) + " · RelayLLM";
}

function said(fleet) {
  const behind = fleet.behind_bytes ? ` · still reading ${Math.ceil(fleet.behind_bytes / 1e6)} MB` : "";
  const raised = fleet.runs.reduce((sum, run) => sum + run.alarms.length, 0);
  const going = fleet.runs.filter((run) => run.life === "running").length;
  return `${fleet.folders.join(", ")} · ${count(fleet.runs.length, "run")}, ${going} running, ${count(raised, "open alarm")}${behind}`;
}

// Says to a screen reader what is new: an alarm that began, a run whose life changed.
let before = null;
function tell(fleet) {
  const now = new Map(fleet.runs.map((run) => [run.id, run]));
  const news = [];
  for (const [id, run] of before ? now : []) {
    const old = before.get(id);
    if (!old) news.push(`${run.label} has appeared`);
    else if (old.life !== run.life) news.push(`${run.label} is ${LIVES[run.life]}`);
    for (const alarm of old ? run.alarms : []) if (!old.alarms.some((one) => one.name === alarm.name)) news.push(`${run.label}: alarm ${alarm.name}`);
  }
  before = now;
  if (news.length) byId("status").textContent = news.slice(0, 5).join(". ") + ".";
}

let waiting = null;
let busy = false;
let again = false;

async function turn() {
  clearTimeout(waiting);
  if (busy) return;
  busy = true;
  const trouble = byId("trouble");
  try {
    await load();
    trouble.hidden = true;
  } catch (error) {
    if (error instanceof Gone) show("none");
    const text = error instanceof TypeError ? "The server does not answer. What is shown is as it was last; this page tries again." : error.message;
    if (trouble.textContent !== text) trouble.textContent = text;
    trouble.hidden = false;
  }
  busy = false;
  if (again) {
    again = false;
    turn();
  } else if (!document.hidden) waiting = setTimeout(turn, EVERY_MS);
}

function atOnce() {
  again = busy;
  turn();
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address says which view is shown
  byId("content").focus();
});
addEventListener("hashchange", () => {
  scrollTo(0, 0);
  byId("content").focus({ preventScroll: true });
  atOnce();
});
document.addEventListener("visibilitychange", () => document.hidden || atOnce());
followsTheme();
turn();
