// Answers to read, the newest first, with who wrote which part.

import { element, keyed } from "./dom.js";
import { count } from "./numbers.js";

const MOST = 30;

export class Answers {
  constructor() {
    const option = ([value, text]) => element("option", { value }, text);
    this.verdict = element("select", { "aria-label": "Right or wrong" }, [["", "right and wrong"], ["right", "right"], ["wrong", "wrong"]].map(option));
    this.policy = element("select", { "aria-label": "Policy" });
    this.kind = element("select", { "aria-label": "Kind of problem" });
    this.said = element("span", { role: "status", class: "muted" });
    this.list = element("div", { class: "answers" });
    this.root = element("section", { "aria-label": "Answers" }, element("h2", {}, "Answers, the newest first"),
      element("p", { class: "key" }, element("span", {}, "written by the student"), element("span", {}, element("mark", { class: "teacher" }, "written by the teacher"), " (underlined)"), element("span", {}, element("span", { class: "command" }, "command"), " of the student (framed)"), element("span", {}, element("s", {}, "other text"), " that grading leaves out")),
      element("div", { class: "filters" }, this.verdict, this.policy, this.kind, this.said), this.list);
    for (const field of [this.verdict, this.policy, this.kind]) field.addEventListener("change", () => this.show());
    this.forget();
  }

  forget() {
    this.answers = [];
    this.policy.replaceChildren();
    this.kind.replaceChildren();
  }

  update(answers) {
    this.root.hidden = !answers.length;
    if (answers[0]?.number === this.answers[0]?.number && answers.length === this.answers.length) return;
    this.answers = answers;
    this.options(this.policy, "all policies", answers.map((one) => one.policy));
    this.options(this.kind, "all kinds", answers.map((one) => one.kind));
    this.show();
  }

  options(select, all, values) {
    const kept = select.value;
    const found = Array.from(new Set(values)).sort();
    select.replaceChildren(element("option", { value: "" }, all), ...found.map((value) => element("option", { value }, value)));
    select.value = found.includes(kept) ? kept : "";
  }

  show() {
    const fits = (one) => (!this.policy.value || one.policy === this.policy.value) && (!this.kind.value || one.kind === this.kind.value) && (!this.verdict.value || (one.correct ? "right" : "wrong") === this.verdict.value);
    const found = this.answers.filter(fits);
    const shown = found.slice(0, MOST);
    this.said.textContent = found.length > MOST ? `${MOST} of ${count(found.length, "answer")}` : count(found.length, "answer");
    keyed(this.list, shown, (one) => String(one.number), article, () => {});
  }
}

function article(one) {
  const text = (part) => (part.graded ? part.text : element("s", {}, part.text));
  const shown = (part) => {
    if (part.source === "command") return element("span", { class: "command" }, part.text);
    return element(part.source === "teacher" ? "mark" : "span", { class: part.source === "teacher" ? "teacher" : null }, text(part));
  };
  const word = one.correct ? "right" : "wrong";
  const ending = (call) => (call.ending === "completed" ? "" : ", " + call.ending.replaceAll("_", " "));
  const output = element("p", { class: "output", dir: "auto", tabIndex: 0, "aria-label": "Output" }, one.parts.map(shown), one.shortened ? element("i", {}, " … shortened") : null);
  return element("article", { class: "card answer" },
    element("header", {}, element("span", { class: "badge " + word }, word), element("span", {}, one.kind), element("span", {}, `${one.policy}, evaluation ${one.name}`)),
    element("p", { class: "problem", dir: "auto" }, one.problem),
    output,
    element("p", { class: "asked" }, element("span", {}, "answer ", element("b", {}, one.answer ?? "none")), element("span", {}, "right answer ", element("b", {}, one.gold)), one.calls.map((call, i) => element("span", {}, `call ${i + 1}: asked for ${call.requested}, got ${call.written}${ending(call)}`))));
}
