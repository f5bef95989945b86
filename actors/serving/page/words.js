// Numbers and failures as a reader sees them.

const SPACE = "\u00a0";

export const percent = (share) => (share === 1 ? "100" : (100 * share).toFixed(1)) + SPACE + "%";

export const count = (number, word) => number.toLocaleString("en") + " " + word + (number === 1 ? "" : "s");

export function seconds(time) {
  if (time < 0.0995) return Math.round(1000 * time) + SPACE + "ms";
  if (time < 59.95) return time.toFixed(time < 9.95 ? 2 : 1) + SPACE + "s";
  const whole = Math.round(time);
  return Math.floor(whole / 60) + SPACE + "min " + (whole % 60) + SPACE + "s";
}

export function money(amount, currency) {
  const shown = amount === 0 ? "0" : amount >= 100 ? amount.toFixed(2) : String(Number(amount.toPrecision(3)));
  const plain = shown.includes("e") ? amount.toFixed(12).replace(/0+$/, "") : shown;
  return currency ? plain + SPACE + currency : plain;
}

// Returns text whose characters cannot turn the direction of the text after them: each such character is shown by its code.
export const upright = (text) =>
  text.replace(/[\u202a-\u202e\u2066-\u2069]/g, (one) => "[U+" + one.charCodeAt(0).toString(16).toUpperCase() + "]");

const ENDINGS = {
  completed: "completed",
  end_of_text: "the teacher ended the answer",
  budget: "the budget was spent",
  failed: "failed",
};

export function callDetails(call) {
  const lines = [["asked for", count(call.requested, "token")]];
  if (call.ending === undefined) return [...lines, ["state", "being written"]];
  lines.push(["written", count(call.written, "token")]);
  lines.push(["took", seconds(call.duration_s)]);
  if (call.first_token_s != null) lines.push(["first token after", seconds(call.first_token_s)]);
  lines.push(["ended", (ENDINGS[call.ending] ?? call.ending) + (call.reason ? ": " + call.reason : "")]);
  lines.push(["the teacher read", count(call.prompt_tokens, "token") + ", " + call.cached_tokens.toLocaleString("en") + " cached"]);
  return lines;
}

// What went wrong, and what to do: {text, wait (seconds, if the server said how long), wantsKey}.
export function failureOf(status, error, retryAfter) {
  const said = error?.message ? ` The server says: ${error.message}` : "";
  const wait = Number.isFinite(retryAfter) && retryAfter > 0 ? Math.ceil(retryAfter) : null;
  if (status === 0) return { text: "The answer ended early." + said, wait: null };
  if (status === 401) return { text: "The server wants an API key, or does not know this one." + said, wait: null, wantsKey: true };
  if (status === 403) return { text: "This API key may not do that." + said, wait: null, wantsKey: true };
  if (status === 404) return { text: "The server does not serve this model any more. Load the page again." + said, wait: null };
  if (status === 413) return { text: "The conversation is too long for the server. Begin a new one." + said, wait: null };
  if (status === 429) {
    const spent = error?.code === "budget_exceeded";
    return { text: (spent ? "Today's budget of this key is spent." : "The server has too many requests now.") + said, wait };
  }
  if (status === 503) return { text: "The server cannot answer now: it has no student, or is being stopped." + said, wait };
  if (status === 504) return { text: "The answer took longer than the server allows." + said, wait: null };
  if (status >= 500) return { text: `The server failed (status ${status}).` + said, wait };
  return { text: `The server refused the request (status ${status}).` + said, wait: null };
}

export const LOST = "The connection to the server was lost. What had come is kept here; ask again to get the whole answer.";
export const UNREACHABLE = "The server does not answer. It may be stopped, or the network may be down.";
