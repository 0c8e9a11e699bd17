// The playground: what would become of an event, and with other conditions. Nothing is sent to a sink.

import { ask, exact, live } from "./feed.js";
import { el } from "./elements.js";

const EXAMPLE = { event_type: "order.created", subject: "orders.eu.created", payload: { amount: 5, currency: "EUR" } };

export function playground(view) {
  const asked = new URLSearchParams(location.hash.split("?")[1] ?? "");
  const event = el("textarea", { id: "event", rows: 14, spellcheck: "false" });
  event.value = pretty(asked.get("event")) ?? JSON.stringify(EXAMPLE, null, 2);
  const key = el("select", { id: "key", onchange: () => offer() });
  const where = el("textarea", { id: "where", rows: 3, spellcheck: "false", placeholder: "as the key has it" });
  const go = el("button", { type: "button", class: "main", onclick: () => run(true) }, "Explain");
  const next = el("button", { type: "button", onclick: () => run(false) }, "Take the next event");
  const standing = el("p", { class: "soft", role: "status" });
  const outcome = el("div", { "aria-live": "polite" }, el("p", { class: "soft" }, "Which keys take it, and what each sink would get, byte for byte."));
  view.append(el("div", { class: "two" },
    el("section", { "aria-label": "Event" }, el("h2", {}, "Event"), el("p", {}, el("label", { for: "event" }, "as JSON, as it arrives"), event),
      el("p", {}, el("label", { for: "key" }, "Key "), key),
      el("p", {}, el("label", { for: "where" }, "Conditions in the place of the key's own"), where),
      el("p", { class: "buttons" }, go, next), standing),
    el("section", { "aria-label": "Outcome" }, el("h2", {}, "Outcome"), outcome)));
  event.addEventListener("keydown", (pressed) => { if (pressed.key === "Enter" && (pressed.ctrlKey || pressed.metaKey)) run(true); });

  function topology() {
    const before = key.value || asked.get("key") || "";
    key.replaceChildren(el("option", { value: "" }, "all keys"), ...(live.topology?.keys ?? []).map(({ name }) => el("option", { value: name }, name)));
    key.value = before;
    offer();
  }

  function offer() {
    where.disabled = !key.value;
    const may = Boolean(live.hello?.changes);
    go.disabled = next.disabled = !may;
    standing.textContent = may || !live.hello ? "Filters run for real, in a process of their own; nothing is sent to a sink."
      : "Read-only: filters would run, so this wants `[admin]` to have a `token_file`.";
  }

  async function run(given) {
    go.disabled = next.disabled = true;
    standing.textContent = given ? "running" : "waiting for an event";
    try {
      const options = { key: key.value || null, where: key.value && where.value.trim() ? where.value : null };
      // Only looked at: it is sent as it was written.
      if (given) JSON.parse(event.value);
      const [named, conditions] = [options.key, options.where].map((option) => JSON.stringify(option));
      const { rows: [explained] } = await ask("console/explain", `{"event":${given ? event.value : null},"key":${named},"where":${conditions}}`, exact);
      if (!given) event.value = JSON.stringify(explained.event, null, 2);
      show(explained.keys);
    } catch (error) {
      outcome.replaceChildren(el("p", { class: "down" }, error.message));
    }
    offer();
  }

  function show(keys) {
    const takers = keys.filter((one) => one.takes);
    const others = keys.filter((one) => !one.takes);
    const left = others.map((one) => el("li", {}, `${one.key}: ${one.because}`));
    outcome.replaceChildren(
      ...(takers.length ? takers.map(taken) : [el("p", {}, "No key takes it: it would be acknowledged and forgotten.")]),
      ...(left.length ? [el("details", {}, el("summary", {}, `${left.length} keys do not take it`), el("ul", { class: "break" }, left))] : []));
  }

  const taken = ({ key, because, dead_letter, routes }) => el("article", {}, el("h3", {}, key), el("p", { class: "soft break" }, `takes it: ${because}`),
    dead_letter ? el("p", { class: "down break" }, `dead letter ${dead_letter.reason}: ${dead_letter.detail}`) : null,
    routes.map(({ route, steps, outcome, because, outputs = [] }) => el("div", {},
      el("p", {}, el("strong", {}, route), ` ${verdict(outcome)} `, because ? el("span", { class: "soft break" }, because) : null,
        el("span", { class: "soft" }, ` ${steps.map(({ hook, microseconds }) => `${hook} ${JSON.stringify(microseconds)} µs`).join(", ")}`)),
      outputs.map(output))));
  const verdict = (outcome) => (typeof outcome === "string" ? outcome : "dead_letter" in outcome ? `dead letter ${outcome.dead_letter}` : Object.keys(outcome)[0]);
  const output = ({ sink, to, text, base64, refused, detail }) => el("div", {},
    el("p", { class: refused ? "down break" : "break" }, refused ? `${sink} refuses it, ${refused}: ${detail}` : `to ${sink}: ${place(to)}`),
    refused ? null : el("pre", {}, text ?? base64));
  const place = (to) => (typeof to === "string" ? to : Object.entries(to).map(([kind, value]) => `${kind} ${[value].flat().join(" ")}`).join(", "));

  return { topology, hello: offer };
}

function pretty(text) {
  try { return text === null ? null : JSON.stringify(JSON.parse(text, exact), null, 2); } catch { return text; }
}
