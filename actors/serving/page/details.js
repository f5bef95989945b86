// Shows the details of a call beside the teacher's text that the pointer or the focus is on.

import { callOf, element } from "./answer.js";
import { callDetails } from "./words.js";

export function showsDetails(box) {
  let shown = null;

  function show(marked) {
    const call = callOf(marked);
    if (!call) return;
    hide();
    shown = marked;
    const lines = callDetails(call).flatMap(([name, value]) => [element("dt", { textContent: name }), element("dd", { textContent: value })]);
    box.replaceChildren(element("dl", {}, ...lines));
    box.hidden = false;
    marked.setAttribute("aria-describedby", box.id);
    place();
  }

  function place() {
    const marked = shown;
    if (!marked?.isConnected) return hide();
    const at = marked.getClientRects()[0] ?? marked.getBoundingClientRect();
    const { width, height } = box.getBoundingClientRect();
    const above = at.top - height - 8;
    box.style.left = Math.max(8, Math.min(at.left, innerWidth - width - 8)) + "px";
    box.style.top = (above >= 8 ? above : at.bottom + 8) + "px";
  }

  function hide() {
    shown?.removeAttribute("aria-describedby");
    shown = null;
    box.hidden = true;
  }

  const markedIn = (event) => (event.target instanceof Element ? event.target.closest(".text .teacher") : null);
  document.addEventListener("focusin", (event) => (markedIn(event) ? show(markedIn(event)) : hide()));
  document.addEventListener("pointerover", (event) => {
    if (markedIn(event)) show(markedIn(event));
    else if (shown && shown !== document.activeElement) hide();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
  addEventListener("scroll", () => shown && place(), { capture: true, passive: true });
}
