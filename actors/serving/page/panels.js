// Panels beside an answer: what went wrong with a way to go on, and how to share it.

import { element } from "./answer.js";
import { count } from "./words.js";

// Returns an element that says what went wrong, counts down if the server said how long to wait, and offers to try again.
export function failurePanel(failure, again) {
  const panel = element("div", { className: "failure" }, element("p", { textContent: failure.message, dir: "auto" }));
  const button = element("button", { type: "button" });
  button.addEventListener("click", again);
  panel.append(button);
  const until = performance.now() + 1000 * (failure.wait ?? 0);
  const show = () => {
    const left = Math.ceil((until - performance.now()) / 1000);
    button.textContent = left > 0 ? `Try again (wait ${count(left, "second")})` : "Try again";
    if (left > 0) setTimeout(show, 500);
  };
  show();
  return panel;
}

export function shareButtons(content, say) {
  const text = () => JSON.stringify(content(), null, 2) + "\n";
  const download = element("button", { type: "button", textContent: "Download as JSON" });
  const copy = element("button", { type: "button", textContent: "Copy as JSON" });
  const told = element("span");
  download.addEventListener("click", () => {
    const link = element("a", { href: URL.createObjectURL(new Blob([text()], { type: "application/json" })), download: "relay-answer.json" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });
  copy.addEventListener("click", async () => {
    told.textContent = (await copied(text())) ? "Copied." : "The browser does not allow copying: download it.";
    say(told.textContent);
  });
  return element("div", { className: "share" }, download, copy, told);
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = element("textarea", { value: text });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
