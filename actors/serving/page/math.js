// Sets a subset of LaTeX as MathML. What it does not know stays as it was written. Every symbol keeps its place in the text,
// so that a formula which student and teacher wrote together shows who wrote what.

import { FUNCTIONS, OPERATORS, SPACES, SYMBOLS, blackboard } from "./symbols.js";

const MATHML = "http://www.w3.org/1998/Math/MathML";
const LONGEST = 3000;
const DEEPEST = 40;
const PAIRS = [["$$", "$$", true], ["\\[", "\\]", true], ["\\(", "\\)", false]];
const TEXTS = new Set(["text", "textbf", "textit", "textrm", "mbox"]);
const UPRIGHT = new Set(["mathrm", "operatorname", "mathbf", "mathit", "mathsf", "boldsymbol", "mathcal"]);
const ACCENTS = { overline: "‾", bar: "‾", vec: "→", hat: "^", widehat: "^", tilde: "~", dot: "˙", ddot: "¨" };
const TABLES = { matrix: ["", ""], pmatrix: ["(", ")"], bmatrix: ["[", "]"], vmatrix: ["|", "|"], cases: ["{", ""],
  aligned: ["", ""], align: ["", ""], "align*": ["", ""], array: ["", ""], gathered: ["", ""] };

class NotKnown extends Error {}

// Returns the formulas in `characters` (an array of code points): {start, end, from, to, block}, without their delimiters from..to.
export function formulas(characters) {
  const found = [];
  const at = (place, text) => {
    for (let i = 0; i < text.length; i++) if (characters[place + i] !== text[i]) return false;
    return true;
  };
  const find = (text, place) => {
    for (let i = place; i <= characters.length - text.length && i - place < LONGEST; i++) if (at(i, text)) return i;
    return -1;
  };
  for (let i = 0; i < characters.length; i++) {
    if (characters[i] !== "$" && characters[i] !== "\\") continue;
    const pair = PAIRS.find(([open]) => at(i, open));
    if (pair) {
      const [open, close, block] = pair;
      const end = find(close, i + 2);
      if (end > i + 2) {
        found.push({ ...(block ? lines(characters, i, end + 2) : { start: i, end: end + 2 }), from: i + 2, to: end, block });
        i = found.at(-1).end - 1;
      } else i++;
    } else if (characters[i] === "$") {
      const end = dollarEnd(characters, i);
      if (end > 0) {
        found.push({ start: i, end: end + 1, from: i + 1, to: end, block: false });
        i = end;
      }
    } else if (at(i, "\\boxed{")) {
      const end = braceEnd(characters, i + 6);
      if (end > 0) {
        found.push({ start: i, end, from: i, to: end, block: false });
        i = end - 1;
      }
    } else i++;
  }
  return found;
}

// Widens the place of a formula on lines of its own by the blanks and line ends around it, since it begins a line anyway.
function lines(characters, start, end) {
  const blank = (place) => /\s/.test(characters[place] ?? "x");
  while (start > 0 && blank(start - 1)) start--;
  while (blank(end)) end++;
  return { start, end };
}

// A dollar opens a formula before something else than a blank, and closes it after something else, on the same line: not "$5 and $6".
function dollarEnd(characters, start) {
  if (/[\s$]/.test(characters[start + 1] ?? " ")) return -1;
  for (let i = start + 1; i < characters.length && i - start < LONGEST; i++) {
    if (characters[i] === "\n") return -1;
    if (characters[i] === "\\") i++;
    else if (characters[i] === "$") return /\s/.test(characters[i - 1]) || /\d/.test(characters[i + 1] ?? "") ? -1 : i;
  }
  return -1;
}

function braceEnd(characters, start) {
  let open = 0;
  for (let i = start; i < characters.length && i - start < LONGEST; i++) {
    if (characters[i] === "\\") i++;
    else if (characters[i] === "{") open++;
    else if (characters[i] === "}" && --open === 0) return i + 1;
  }
  return -1;
}

// Returns a <math> element, or null if something in the formula is not known. `mark(element, start, end)` is called for each symbol.
export function mathOf(characters, formula, mark) {
  try {
    const parser = new Parser(characters, formula.from, formula.to, mark);
    const math = node("math", parser.row(() => false));
    if (!parser.ended) throw new NotKnown();
    if (formula.block) math.setAttribute("display", "block");
    return math;
  } catch (error) {
    if (error instanceof NotKnown) return null;
    throw error;
  }
}

function node(name, children = [], attributes = {}) {
  const element = document.createElementNS(MATHML, name);
  element.append(...children);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

const grouped = (children) => (children.length === 1 ? children[0] : node("mrow", children));

class Parser {
  constructor(characters, from, to, mark) {
    Object.assign(this, { characters, place: from, to, mark, depth: 0 });
  }

  get ended() {
    return this.place >= this.to;
  }

  peek() {
    while (this.place < this.to && /\s/.test(this.characters[this.place])) this.place++;
    return this.ended ? "" : this.characters[this.place];
  }

  next(expected) {
    if (this.peek() !== expected) throw new NotKnown();
    this.place++;
  }

  // Returns the name of the command at this place without moving: "frac" of \frac, "," of \, and "" if there is none.
  command() {
    if (this.peek() !== "\\") return "";
    let end = this.place + 1;
    while (end < this.to && /[A-Za-z]/.test(this.characters[end])) end++;
    if (end === this.place + 1) end++;
    if (end > this.to) throw new NotKnown();
    return this.characters.slice(this.place + 1, end).join("");
  }

  row(stops) {
    if (++this.depth > DEEPEST) throw new NotKnown();
    const children = [];
    while (this.peek() && !stops()) {
      const item = this.scripted();
      if (item) children.push(item);
    }
    this.depth--;
    return children;
  }

  leaf(name, text, start, attributes) {
    const element = node(name, [text], attributes);
    this.mark(element, start, this.place);
    return element;
  }

  scripted() {
    const large = ["sum", "prod", "lim", "max", "min", "bigcup", "bigcap"].includes(this.command());
    let base = this.atom();
    let below = null;
    let above = null;
    for (;;) {
      const sign = this.peek();
      if (sign === "'") {
        const start = this.place++;
        above = above ? node("mrow", [above, this.leaf("mo", "′", start)]) : this.leaf("mo", "′", start);
      } else if (sign === "^" && !above) {
        this.place++;
        above = this.argument();
      } else if (sign === "_" && !below) {
        this.place++;
        below = this.argument();
      } else if (sign === "^" || sign === "_") throw new NotKnown();
      else break;
    }
    base ??= below || above ? node("mrow") : null;
    if (below && above) return node(large ? "munderover" : "msubsup", [base, below, above]);
    if (below) return node(large ? "munder" : "msub", [base, below]);
    return above ? node(large ? "mover" : "msup", [base, above]) : base;
  }

  argument() {
    if (this.peek() === "{") return this.group();
    const item = this.atom();
    if (!item) throw new NotKnown();
    return item;
  }

  group() {
    this.next("{");
    const children = this.row(() => this.peek() === "}");
    this.next("}");
    return grouped(children);
  }

  raw() {
    this.next("{");
    const start = this.place;
    const end = braceEnd(this.characters, start - 1);
    if (end < 0 || end > this.to) throw new NotKnown();
    this.place = end;
    return { text: this.characters.slice(start, end - 1).join(""), start };
  }

  // Returns an element, or null for a blank that is not shown.
  atom() {
    const sign = this.peek();
    const start = this.place;
    if (sign === "{") return this.group();
    if (sign === "\\") return this.known(this.command());
    if (sign === "" || "}^_&#%$".includes(sign)) throw new NotKnown();
    if (/[0-9]/.test(sign)) {
      while (!this.ended && /[0-9]/.test(this.characters[this.place])) this.place++;
      if (this.characters[this.place] === "." && this.place + 1 < this.to && /[0-9]/.test(this.characters[this.place + 1]))
        do this.place++; while (!this.ended && /[0-9]/.test(this.characters[this.place]));
      return this.leaf("mn", this.characters.slice(start, this.place).join(""), start);
    }
    this.place++;
    if (sign === "~") return node("mspace", [], { width: "0.33em" });
    if (/\p{L}/u.test(sign)) return this.leaf("mi", sign, start);
    return this.leaf("mo", sign === "-" ? "−" : sign === "*" ? "∗" : sign, start, "()[]|".includes(sign) ? { stretchy: "false" } : {});
  }

  known(name) {
    const start = this.place;
    this.place += name.length + 1;
    if (name in SPACES) return SPACES[name] ? node("mspace", [], { width: SPACES[name] }) : null;
    if (name in SYMBOLS) return this.leaf("mi", SYMBOLS[name], start);
    if (name in OPERATORS) return this.leaf("mo", OPERATORS[name], start, "{}|".includes(name) ? { stretchy: "false" } : {});
    if (FUNCTIONS.has(name)) return this.leaf("mi", name, start);
    if (name === "frac" || name === "dfrac" || name === "tfrac") return node("mfrac", [this.argument(), this.argument()]);
    if (name === "binom") {
      const inner = node("mfrac", [this.argument(), this.argument()], { linethickness: "0" });
      return node("mrow", [node("mo", ["("]), inner, node("mo", [")"])]);
    }
    if (name === "sqrt") return this.root();
    if (name === "boxed" || name === "fbox") return node("mrow", [this.group()], { class: "boxed" });
    if (TEXTS.has(name)) {
      const { text, start: from } = this.raw();
      return this.leaf("mtext", text.replace(/^ | $/g, "\u00a0"), from);
    }
    if (name === "mathbb") return this.leaf("mi", blackboard(this.raw().text), start);
    if (UPRIGHT.has(name)) return this.upright();
    if (name in ACCENTS) return node("mover", [this.argument(), node("mo", [ACCENTS[name]], { stretchy: name === "overline" ? "true" : "false" })], { accent: "true" });
    if (name === "underline") return node("munder", [this.argument(), node("mo", ["_"])]);
    if (name === "left") return this.fenced();
    if (name === "begin") return this.table();
    if (name === "displaystyle" || name === "limits" || name === "nolimits") return null;
    throw new NotKnown();
  }

  root() {
    if (this.peek() !== "[") return node("msqrt", [this.argument()]);
    this.place++;
    const degree = grouped(this.row(() => this.peek() === "]"));
    this.next("]");
    return node("mroot", [this.argument(), degree]);
  }

  upright() {
    const { text, start } = this.raw();
    if (!/^[A-Za-z0-9 ]+$/.test(text)) {
      this.place = start - 1;
      return this.group();
    }
    return this.leaf("mi", text, start, { mathvariant: "normal" });
  }

  fence() {
    const start = this.place;
    const name = this.command();
    if (name) this.place += name.length + 1;
    else if (this.peek()) this.place++;
    const sign = name ? (OPERATORS[name] ?? null) : this.characters[start];
    if (!sign) throw new NotKnown();
    return sign === "." ? node("mrow") : this.leaf("mo", sign, start, { stretchy: "true", fence: "true" });
  }

  fenced() {
    this.peek();
    const open = this.fence();
    const inner = this.row(() => this.command() === "right");
    if (this.command() !== "right") throw new NotKnown();
    this.place += 6;
    this.peek();
    return node("mrow", [open, ...inner, this.fence()]);
  }

  table() {
    const name = this.raw().text;
    if (!(name in TABLES)) throw new NotKnown();
    if (name === "array") this.raw();
    const rows = [[]];
    for (;;) {
      const cell = this.row(() => this.peek() === "&" || ["\\", "end"].includes(this.command()));
      rows.at(-1).push(node("mtd", cell));
      if (this.peek() === "&") this.place++;
      else if (this.command() === "\\") {
        this.place += 2;
        rows.push([]);
      } else if (this.command() === "end") break;
      else throw new NotKnown();
    }
    this.place += 4;
    if (this.raw().text !== name) throw new NotKnown();
    const [open, close] = TABLES[name];
    const table = node("mtable", rows.filter((row) => row.some((cell) => cell.hasChildNodes())).map((row) => node("mtr", row)));
    const fences = (sign) => (sign ? [node("mo", [sign], { stretchy: "true", fence: "true" })] : []);
    return node("mrow", [...fences(open), table, ...fences(close)]);
  }
}
