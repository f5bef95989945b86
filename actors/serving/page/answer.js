// One answer on the page: its text with the teacher's parts marked, its numbers, and what went wrong.

import { formulas, mathOf } from "./math.js";
import { count, money, percent, seconds, upright } from "./words.js";

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const calls = new WeakMap();
export const callOf = (marked) => calls.get(marked);

export class Answer {
  // `kind` is relay, student or teacher; `prices` and `currency` are those of the server.
  constructor(kind, title, { prices, currency, setsMathematics }) {
    Object.assign(this, { kind, prices, currency, setsMathematics });
    this.pieces = [];
    this.calls = [];
    this.summary = this.total = this.failure = this.finish = null;
    this.stopped = false;
    this.state = element("span", { className: "state" });
    this.text = element("div", { className: kind === "teacher" ? "text alone" : "text", dir: "auto", tabIndex: -1 });
    this.numbers = element("dl", { className: "numbers", hidden: true });
    this.notes = element("p", { className: "notes", hidden: true });
    const name = kind === "teacher" ? "teacher-alone" : kind;
    this.root = element("section", { className: "answer " + name }, element("h3", {}, title, this.state), this.text, this.numbers, this.notes);
    this.root.setAttribute("aria-label", title);
    this.root.setAttribute("aria-busy", "true");
    this.began = performance.now();
    this.firstText = null;
    this.clock = setInterval(() => this.tick(), 250);
    this.tick();
  }

  get content() {
    return this.pieces.map((piece) => piece.text).join("");
  }

  get whole() {
    return this.finish !== null;
  }

  // A next part of the text. The text of a call goes into a mark of its own.
  write(writer, text) {
    const isFirst = this.firstText === null;
    this.firstText ??= performance.now();
    const call = writer === "teacher" ? (this.calls.at(-1) ?? null) : null;
    const last = this.pieces.at(-1);
    if (last && last.writer === writer && last.call === call) {
      last.text += text;
      last.node.data += upright(text);
    } else {
      const node = document.createTextNode(upright(text));
      this.pieces.push({ writer, call, text, node });
      this.text.append(this.marks(writer) ? this.mark(call, node) : node);
    }
    this.follow();
    if (isFirst) this.tick();
  }

  call(call) {
    const last = this.calls.at(-1);
    if (last && last.ending === undefined && (call.ending !== undefined || last.start === call.start)) Object.assign(last, call);
    else this.calls.push({ ...call });
  }

  marks(writer) {
    return writer === "teacher" && this.kind !== "teacher";
  }

  mark(call, ...children) {
    const mark = element("mark", { className: "teacher", tabIndex: 0 }, ...children);
    if (call) calls.set(mark, call);
    return mark;
  }

  // Keeps the end in sight, unless the reader has scrolled up.
  follow() {
    const { scrollTop, scrollHeight, clientHeight } = this.text;
    if (this.text.dataset.height && scrollTop + clientHeight >= Number(this.text.dataset.height) - 24) this.text.scrollTop = scrollHeight;
    this.text.dataset.height = scrollHeight;
  }

  end(summary, finish) {
    Object.assign(this, { summary, finish });
    if (summary?.calls?.length >= this.calls.length) this.calls = summary.calls;
  }

  // Shows the answer as it is for good. `failure` is an error element, if there was one.
  close(failure = null) {
    clearInterval(this.clock);
    this.took = (performance.now() - this.began) / 1000;
    this.root.setAttribute("aria-busy", "false");
    this.render();
    this.tick();
    this.text.hidden = failure !== null && this.content === "";
    if (this.text.scrollHeight > this.text.clientHeight) this.text.tabIndex = 0; // so that keys can scroll it
    if (failure) this.root.insertBefore(failure, this.numbers);
    const notes = this.noteLines();
    this.notes.hidden = !notes.length;
    this.notes.textContent = notes.join(" ");
  }

  // Writes the text anew: from the summary's calls and spans if they came, and with its formulas set.
  render() {
    this.text.classList.add("whole");
    const characters = Array.from(this.content);
    const spans = this.spans(characters.length);
    const nodes = [];
    let place = 0;
    for (const formula of this.setsMathematics() ? formulas(characters) : []) {
      const reached = new Set();
      const math = mathOf(characters, formula, (leaf, start, end) => this.markLeaf(leaf, spans, start, end, reached));
      if (!math) continue;
      math.setAttribute("alttext", characters.slice(formula.start, formula.end).join(""));
      nodes.push(...this.plain(characters, spans, place, formula.start), math);
      place = formula.end;
    }
    nodes.push(...this.plain(characters, spans, place, characters.length));
    this.text.replaceChildren(...nodes);
  }

  // Returns the teacher's parts as {start, end, call}, in characters. Two calls that follow each other are two parts.
  spans(length) {
    const found = [];
    let place = 0;
    for (const piece of this.pieces) {
      const end = place + Array.from(piece.text).length;
      if (this.marks(piece.writer)) found.push({ start: place, end, call: piece.call });
      place = end;
    }
    const said = this.summary?.spans;
    if (!said?.length || said.at(-1).end !== length) return found;
    const parts = [];
    for (const span of said.filter((one) => this.marks(one.writer))) {
      let from = span.start;
      for (const call of this.calls.filter((one) => one.end > span.start && one.start < span.end)) {
        if (call.start > from) parts.push({ start: from, end: call.start, call: null });
        parts.push({ start: Math.max(call.start, from), end: Math.min(call.end, span.end), call });
        from = Math.min(call.end, span.end);
      }
      if (from < span.end) parts.push({ start: from, end: span.end, call: null });
    }
    return parts;
  }

  plain(characters, spans, start, end) {
    const nodes = [];
    const take = (from, to) => upright(characters.slice(from, to).join(""));
    let place = start;
    for (const span of spans) {
      const [from, to] = [Math.max(span.start, start), Math.min(span.end, end)];
      if (from >= to) continue;
      if (from > place) nodes.push(take(place, from));
      nodes.push(this.mark(span.call, take(from, to)));
      place = to;
    }
    if (end > place) nodes.push(take(place, end));
    return nodes;
  }

  // Marks a symbol that the teacher wrote. The keyboard reaches the first symbol of each call in a formula.
  markLeaf(leaf, spans, start, end, reached) {
    const span = spans.find((one) => one.start < end && one.end > start);
    if (!span) return;
    leaf.classList.add("teacher");
    if (!reached.has(span)) leaf.setAttribute("tabindex", "0");
    reached.add(span);
    if (span.call) calls.set(leaf, span.call);
  }

  noteLines() {
    const lines = [];
    if (this.stopped) lines.push("Stopped.");
    if (this.finish === "length") lines.push("Cut off at the greatest length.");
    if (this.summary?.stop_text) lines.push(`Ended by the stop text “${this.summary.stop_text}”.`);
    if (this.summary?.teacher === "away" && this.kind === "relay") lines.push("The teacher was away: the student answered alone.");
    const rejected = this.summary?.rejected_commands ?? 0;
    if (rejected) lines.push(count(rejected, "command") + (rejected === 1 ? " was" : " were") + " not executed.");
    const failed = this.calls.filter((call) => call.ending === "failed");
    if (failed.length) lines.push(count(failed.length, "call") + " failed" + (failed[0].reason ? ": " + failed[0].reason : "") + ".");
    return lines;
  }

  // Returns the cost of the calls that have ended. The student's share is known only at the end.
  costSoFar() {
    const price = this.prices?.teacher;
    if (!price) return 0;
    return this.calls
      .filter((call) => call.ending !== undefined)
      .reduce((sum, call) => sum + (call.prompt_tokens - call.cached_tokens) * price.input + call.cached_tokens * price.cached_input + call.written * price.output, 0) / 1e6;
  }

  isPriced() {
    return ["student", "teacher"].some((model) => Object.values(this.prices?.[model] ?? {}).some((price) => price > 0));
  }

  tick() {
    const going = this.root.getAttribute("aria-busy") === "true";
    const now = (performance.now() - this.began) / 1000;
    const { summary } = this;
    const currency = this.total?.currency ?? this.currency;
    this.state.textContent = going ? (this.firstText === null ? "waiting …" : "writing …") : "";
    const rows = [];
    if (this.kind === "relay") {
      const length = this.pieces.reduce((sum, piece) => sum + piece.text.length, 0);
      const teacher = this.pieces.reduce((sum, piece) => sum + (piece.writer === "teacher" ? piece.text.length : 0), 0);
      const ratio = summary ? percent(summary.call_ratio) : length ? "≈ " + percent(teacher / length) : "–";
      rows.push(["call ratio", ratio], ["calls", String(this.calls.length)]);
    }
    if (summary) rows.push(["tokens", summary.output_tokens.toLocaleString("en")]);
    if (this.isPriced()) rows.push(["cost", summary ? money(summary.cost, currency) : this.calls.length ? "≥ " + money(this.costSoFar(), currency) : "–"]);
    if (summary && this.kind === "relay" && this.isPriced()) rows.push(["teacher alone would be", money(summary.teacher_alone_cost, currency)]);
    if (this.firstText !== null) rows.push(["first text after", seconds((this.firstText - this.began) / 1000)]);
    rows.push(["time", seconds(going ? now : (summary?.duration_s ?? this.took))]);
    this.numbers.hidden = false;
    this.numbers.replaceChildren(...rows.map(([name, value]) => element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: value }))));
  }
}
