// Making nodes, and numbers for people. Whatever others wrote comes into the page as text, here and nowhere else.

const SVG = "http://www.w3.org/2000/svg";

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child != null));
  return node;
}

export const el = (name, attributes, ...children) => filled(document.createElement(name), attributes, children);
export const svg = (name, attributes, ...children) => filled(document.createElementNS(SVG, name), attributes, children);

/** A table with headers; `columns` are `[title, class]`. */
export function table(label, columns, rows) {
  const heads = columns.map(([title, kind]) => el("th", { scope: "col", class: kind }, title));
  const body = el("tbody", {}, rows);
  const made = el("table", { "aria-label": label }, el("thead", {}, el("tr", {}, heads)), body);
  const frame = el("div", { class: "scroll", role: "region", "aria-label": label, tabindex: 0 }, made);
  return { frame, body };
}

export const row = (columns, cells, attributes) =>
  el("tr", attributes, cells.map((cell, at) => el("td", { class: columns[at][1] }, cell ?? "")));

let pressed = null;
addEventListener("pointerdown", ({ target }) => { pressed = target; }, true);
addEventListener("keydown", ({ key, target }) => { if (key === " " && target.matches("button")) pressed = target; }, true);
addEventListener("click", () => { pressed = null; }, true);
// Clicks follow at once; where none does, the press is over.
for (const end of ["pointerup", "pointercancel", "keyup", "contextmenu"]) addEventListener(end, () => setTimeout(() => { pressed = null; }), true);
// Only of the window itself: the focus moves at each press.
addEventListener("blur", () => { pressed = null; });

/** True while something in a node is pressed: if it were replaced before it is let go, it would get no click. */
export const isPressed = (node) => node.contains(pressed);

/** Puts new rows in the place of the old ones; what has the focus keeps it, and a selection its text. */
export function refill(body, rows) {
  if (isPressed(body)) return;
  const selected = document.getSelection();
  if (selected && !selected.isCollapsed && body.contains(selected.anchorNode)) return;
  const active = document.activeElement;
  const label = body.contains(active) ? active.textContent : null;
  body.replaceChildren(...rows);
  if (label !== null) [...body.querySelectorAll("button, input, a")].find((one) => one.textContent === label)?.focus({ preventScroll: true });
}

export function rate(perSecond) {
  if (!perSecond) return "0/s";
  if (perSecond < 0.95) return `${perSecond.toFixed(1)}/s`;
  return `${count(perSecond)}/s`;
}

export function count(number) {
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(number) >= size) return `${(number / size).toFixed(number / size < 10 ? 1 : 0)}${unit}`;
  }
  return String(Math.round(number));
}

export function bytes(number) {
  for (const [size, unit] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (number >= size) return `${(number / size).toFixed(1)} ${unit}`;
  }
  return `${number} B`;
}

export function nanos(number) {
  if (number == null) return "–";
  for (const [size, unit] of [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]]) {
    if (number >= size) return `${(number / size).toFixed(number / size < 10 ? 2 : 0)} ${unit}`;
  }
  return `${number} ns`;
}

/** A number of things: `1 key`, `2 keys`. */
export const counted = (number, thing) => `${number} ${thing}${number === 1 ? "" : "s"}`;
export const clock = (time) => new Date(time).toTimeString().slice(0, 8);
export const cut = (text, most) => (text.length > most ? `${text.slice(0, Math.max(1, most - 1))}…` : text);

/** Health as a sign and a word, so that nothing hangs on colour alone. */
export const SIGNS = { ok: "●", degraded: "▲", down: "■" };
export const mark = (level) => el("span", { class: `mark ${level}` }, `${SIGNS[level] ?? "○"} ${level}`);

/** A small curve of the last values. */
class LiveSpark extends HTMLElement {
  set values(values) {
    const most = Math.max(...values, 1e-9);
    const points = values.map((value, at) => `${90 - ((values.length - 1 - at) / 59) * 90},${17 - (value / most) * 15}`).join(" ");
    if (!this.curve) {
      this.curve = svg("polyline", { fill: "none", stroke: "currentColor", "stroke-width": 1.3 });
      this.replaceChildren(svg("svg", { viewBox: "0 0 90 18", preserveAspectRatio: "none", "aria-hidden": "true" }, this.curve));
    }
    this.curve.setAttribute("points", points);
  }
}
customElements.define("live-spark", LiveSpark);
