// The conversation: questions, the answers of relay, student and teacher, and what they took together.

import { Answer, element } from "./answer.js";
import { bodyOf, compares, key, saysTheRatio, setsMathematics, wrongField } from "./controls.js";
import { showsDetails } from "./details.js";
import { failurePanel, shareButtons } from "./panels.js";
import { followsTheme } from "./theme.js";
import { Failure, ask, models } from "./wire.js";
import { count, money, percent, seconds } from "./words.js";

const byId = (id) => document.getElementById(id);
const TITLES = { relay: "Relay", student: "Student alone", teacher: "Teacher alone" };

const served = { relay: null, student: null, teacher: null };
const turns = [];
let stopping = null;

const say = (text) => {
  byId("status").textContent = text;
};

async function load() {
  byId("trouble").hidden = true;
  try {
    for (const kind in served) served[kind] = null;
    for (const model of await models(key())) served[model.relay?.kind ?? "relay"] ??= model;
    if (!served.relay) throw new Failure({ text: "The server serves no relay student." });
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    byId("served").textContent = "";
    byId("trouble").replaceChildren(...failurePanel(error, load).childNodes);
    byId("trouble").hidden = false;
    if (error.wantsKey) wantKey();
    return;
  }
  const { id, relay } = served.relay;
  document.title = id + " – RelayLLM";
  byId("served").textContent = `${id}, policy version ${relay.policy_version}`;
  byId("memory").hidden = relay.memory !== "question";
  byId("compare").closest("label").hidden = !served.student && !served.teacher;
  byId("examples").replaceChildren(...(relay.examples ?? []).map(exampleItem));
  byId("welcome").hidden = turns.length > 0;
}

function exampleItem(text) {
  const button = element("button", { type: "button", textContent: text, dir: "auto" });
  button.addEventListener("click", () => {
    byId("question").value = text;
    byId("question").focus();
    byId("ask").requestSubmit();
  });
  return element("li", {}, button);
}

function wantKey() {
  byId("more").open = true;
  byId("api-key").focus();
}

// Returns the messages up to a turn: its question, and the earlier turns whose relay answer has come.
function messagesFor(turn) {
  const earlier = turns.slice(0, turns.indexOf(turn)).filter(({ answers }) => answers.relay?.isKept);
  const spoken = earlier.flatMap(({ question, answers }) => [
    { role: "user", content: question },
    { role: "assistant", content: answers.relay.answer.content },
  ]);
  return [...spoken, { role: "user", content: turn.question }];
}

async function askAll(question) {
  const turn = { question, answers: {} };
  turns.push(turn);
  byId("welcome").hidden = true;
  byId("reset").hidden = false;
  turn.grid = element("div", { className: "answers" });
  turn.root = element("article", { className: "turn" }, element("h2", { textContent: question, dir: "auto" }), turn.grid);
  turn.root.setAttribute("aria-label", "Question " + turns.length);
  byId("conversation").append(turn.root);
  const kinds = Object.keys(served).filter((kind) => served[kind] && (kind === "relay" || compares()));
  turn.grid.classList.toggle("three", kinds.length > 1);
  byId("shown").hidden = !document.querySelector(".three");
  stopping = new AbortController();
  setBusy(true);
  const asked = kinds.map((kind) => askOne(turn, kind, stopping.signal));
  turn.root.scrollIntoView({ block: "start" });
  say("The answer is being written.");
  await asked[0];
  say(spoken(turn));
  await Promise.all(asked);
  setBusy(false);
  addUp();
}

async function askOne(turn, kind, signal) {
  const body = bodyOf(served[kind].id, kind, messagesFor(turn));
  const { prices, currency } = served.relay.relay;
  const answer = new Answer(kind, TITLES[kind], { prices, currency, setsMathematics });
  const record = { answer, body, isKept: false, error: null };
  const before = turn.answers[kind]?.answer.root;
  if (before) before.replaceWith(answer.root);
  else turn.grid.append(answer.root);
  turn.answers[kind] = record;
  let panel = null;
  try {
    await ask(body, key(), signal, {
      text: (writer, text) => answer.write(writer, text),
      call: (call) => answer.call(call),
      summary: (summary, finish) => answer.end(summary, finish),
      usage: (chunk) => Object.assign(record, { usage: chunk.usage ?? null }) && (answer.total = chunk.relay ?? null),
    });
    record.isKept = true;
  } catch (error) {
    if (error.name === "AbortError") {
      answer.stopped = true;
      record.isKept = answer.content !== "";
    } else if (error instanceof Failure) {
      record.error = error.message;
      panel = failurePanel(error, () => askAgain(turn, kind));
      if (error.wantsKey) wantKey();
    } else {
      record.error = String(error);
      panel = failurePanel(new Failure({ text: "The answer cannot be read: " + error.message }), () => askAgain(turn, kind));
      console.error(error);
    }
  }
  answer.close(panel);
  if (kind === "relay") turn.share = turn.share ?? shareOf(turn);
}

async function askAgain(turn, kind) {
  if (stopping) return;
  stopping = new AbortController();
  setBusy(true);
  byId("question").focus();
  await askOne(turn, kind, stopping.signal);
  say(spoken(turn));
  setBusy(false);
  addUp();
}

function shareOf(turn) {
  const share = shareButtons(() => shared(turn), say);
  turn.root.append(share);
  return share;
}

// Returns what is shared of a turn: requests and answers, and never the key.
function shared(turn) {
  const record = ({ answer, body, usage, error }) => ({
    request: body,
    answer: { content: answer.content, finish_reason: answer.finish, stopped: answer.stopped, relay: answer.summary },
    usage: usage ?? null,
    relay: answer.total,
    error,
  });
  const answers = Object.fromEntries(Object.entries(turn.answers).map(([kind, one]) => [kind, record(one)]));
  return { question: turn.question, server: served.relay, answers };
}

function spoken(turn) {
  const { answer, error } = turn.answers.relay;
  if (error) return "No whole answer. " + error;
  if (answer.stopped) return "The answer is stopped.";
  const { summary } = answer;
  if (!summary) return "The answer is there.";
  const long = answer.content.length > 300 ? "" : " " + answer.content;
  return `The answer is there.${long} The teacher wrote ${percent(summary.call_ratio)} in ${count(summary.calls.length, "call")}.`;
}

function setBusy(busy) {
  const [send, stop] = [byId("send"), byId("stop")];
  const held = [send, stop].includes(document.activeElement);
  send.hidden = busy;
  stop.hidden = !busy;
  if (busy && held) stop.focus();
  if (!busy) {
    if (held) byId("question").focus();
    stopping = null;
  }
}

// Shows what all relay answers of the conversation took together.
function addUp() {
  const done = turns.map(({ answers }) => answers.relay.answer).filter(({ summary }) => summary);
  const sum = (of) => done.reduce((total, answer) => total + of(answer), 0);
  const output = sum(({ summary }) => summary.output_tokens);
  const words = [count(done.length, "answer"), count(output, "token"), "call ratio " + percent(output ? sum(({ summary }) => summary.teacher_tokens) / output : 0)];
  const time = seconds(sum(({ summary }) => summary.duration_s));
  const shown = element("span", { textContent: "Conversation: " + words.join(" · ") });
  if (done.some((answer) => answer.isPriced())) {
    const currency = done.at(-1).total?.currency;
    const alone = money(sum(({ summary }) => summary.teacher_alone_cost), currency);
    shown.append(` · cost ${money(sum(({ summary }) => summary.cost), currency)}`, element("span", { className: "more", textContent: ` (teacher alone ${alone})` }));
  }
  byId("totals").replaceChildren(shown, " · " + time);
  byId("totals").hidden = !done.length;
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = byId("question").value.trim();
  if (stopping) return say("An answer is being written. Stop it first.");
  if (!question || !served.relay) return say(question ? "The server has no student to ask." : "Write a question first.");
  const wrong = wrongField();
  if (wrong) {
    byId("more").open = true;
    wrong.focus();
    return wrong.reportValidity();
  }
  byId("question").value = "";
  return askAll(question);
});
byId("ask").noValidate = true;
byId("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId("ask").requestSubmit();
});
byId("stop").addEventListener("click", () => stopping?.abort());
byId("reset").addEventListener("click", () => {
  stopping?.abort();
  turns.length = 0;
  byId("conversation").replaceChildren();
  byId("totals").hidden = byId("reset").hidden = byId("shown").hidden = true;
  byId("welcome").hidden = !served.relay;
  byId("question").focus();
  say("A new conversation.");
});
byId("api-key").addEventListener("change", load);
byId("mathematics").addEventListener("change", () => {
  for (const { answers } of turns) for (const { answer } of Object.values(answers)) if (!answer.text.closest("[aria-busy=true]")) answer.render();
});
byId("shown").addEventListener("change", (event) => {
  document.body.dataset.shown = event.target.value;
});
document.body.dataset.shown = "relay";
followsTheme();
saysTheRatio();
showsDetails(byId("details"));
load();
