// What the reader sets: budget, comparison, key.

import { percent } from "./words.js";

const byId = (id) => document.getElementById(id);

export function saysTheRatio() {
  const ratio = byId("ratio");
  const said = () => (ratio.value === "100" ? "no limit" : ratio.value === "0" ? "nothing" : "at most " + percent(ratio.value / 100).replace(".0", ""));
  const say = () => {
    byId("ratio-said").value = said();
    ratio.setAttribute("aria-valuetext", said());
  };
  ratio.addEventListener("input", say);
  say();
}

const number = (id) => (byId(id).value.trim() === "" ? null : byId(id).valueAsNumber);

export const key = () => byId("api-key").value.trim();
export const compares = () => byId("compare").checked;
export const setsMathematics = () => byId("mathematics").checked;

// Returns the first field whose value is not possible, or null.
export const wrongField = () => ["teacher-tokens", "max-tokens", "temperature"].map(byId).find((field) => !field.checkValidity()) ?? null;

// Returns the body of a request. What is not set is left out, so that the server's own values hold.
export function bodyOf(model, kind, messages) {
  const body = { model, messages, stream: true, stream_options: { include_usage: true } };
  if (number("max-tokens") !== null) body.max_tokens = number("max-tokens");
  if (number("temperature") !== null) body.temperature = number("temperature");
  if (kind !== "relay") return body;
  const relay = {};
  if (byId("ratio").value !== "100") relay.max_call_ratio = Number(byId("ratio").value) / 100;
  if (number("teacher-tokens") !== null) relay.max_teacher_tokens = number("teacher-tokens");
  if (byId("show-commands").checked) relay.show_commands = true;
  return Object.keys(relay).length ? { ...body, relay } : body;
}
