// Talks to the server: its models, and answers as they are written.

import { LOST, UNREACHABLE, failureOf } from "./words.js";

export class Failure extends Error {
  constructor({ text, wait = null, wantsKey = false }) {
    super(text);
    this.wait = wait;
    this.wantsKey = wantsKey;
  }
}

const headersOf = (key) => (key ? { Authorization: "Bearer " + key } : {});

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (error instanceof TypeError && options.headers?.Authorization && /[^\x20-\xff]/.test(options.headers.Authorization))
      throw new Failure({ text: "The API key has characters that no key has.", wantsKey: true });
    throw new Failure({ text: UNREACHABLE });
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  throw new Failure(failureOf(response.status, body?.error, Number(response.headers.get("Retry-After") ?? NaN)));
}

export async function models(key) {
  const response = await request("v1/models", { headers: headersOf(key) });
  const body = await response.json().catch(() => null);
  if (!Array.isArray(body?.data)) throw new Failure({ text: "The server's list of models cannot be read." });
  return body.data;
}

// Yields the events of a stream: each `data:` field as text.
async function* dataOf(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let data = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + decoder.decode(value, { stream: true })).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
        else if (line === "" && data.length) {
          yield data.join("\n");
          data = [];
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// Asks for one answer, and tells `on` about it: text(writer, text), call(call), summary(choice, finishReason), usage(chunk).
// Returns when the answer is whole. Throws Failure, or AbortError after `signal`.
export async function ask(body, key, signal, on) {
  const response = await request("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headersOf(key) },
    body: JSON.stringify(body),
    signal,
  });
  try {
    for await (const data of dataOf(response.body)) {
      if (data === "[DONE]") return;
      tell(JSON.parse(data), on);
    }
  } catch (error) {
    if (error instanceof Failure || error.name === "AbortError") throw error;
    throw new Failure({ text: LOST });
  }
  throw new Failure({ text: LOST });
}

function tell(chunk, on) {
  if (chunk.error) throw new Failure(failureOf(Number(chunk.error.code) || 0, chunk.error, NaN));
  const choice = chunk.choices?.[0];
  if (!choice) {
    on.usage(chunk);
    return;
  }
  const text = choice.delta?.content;
  if (text) on.text(choice.relay?.writer ?? "student", text);
  if (choice.relay?.call) on.call(choice.relay.call);
  if (choice.finish_reason) on.summary(choice.relay ?? null, choice.finish_reason);
}
