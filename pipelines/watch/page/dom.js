// Small helpers to build the page. Texts of files become text nodes, never markup.

import { upright } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

// Returns a new element. `properties` are its properties, with `class` for className and aria-… and data-… as attributes.
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (key === "class") made.className = value;
    else if (key.includes("-") || key === "role" || key === "for") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined).map((child) => (typeof child === "string" ? upright(child) : child)));
  return made;
}

export function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const shown = new WeakMap();

// Fills `place` anew if `data` is not what it shows already. The focus stays on the element with the same data-key.
export function fill(place, data, make) {
  const text = JSON.stringify(data);
  if (shown.get(place) === text) return;
  shown.set(place, text);
  const held = place.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  place.replaceChildren(...[make(data)].flat().filter((child) => child !== null));
  if (held) Array.from(place.querySelectorAll("[data-key]")).find((one) => one.dataset.key === held)?.focus({ preventScroll: true });
}

// Shows a list with one element for each item. Elements of items that stay are kept, so that focus and selection stay too.
export function keyed(place, items, key, make, update) {
  const known = new Map(Array.from(place.children, (child) => [child.dataset.item, child]));
  let before = place.firstElementChild;
  for (const item of items) {
    let child = known.get(key(item));
    known.delete(key(item));
    if (!child) {
      child = make(item);
      child.dataset.item = key(item);
    }
    update(child, item);
    if (child === before) before = before.nextElementSibling;
    else place.insertBefore(child, before);
  }
  for (const gone of known.values()) gone.remove();
}
