// Deliveries to webhooks: pending, done and failed.

import { ask, live } from "./feed.js";
import { el, row, table } from "./elements.js";

const COLUMNS = [["Made", "nowrap"], ["Webhook"], ["Type", "break"], ["State"], ["Tries", "number"], ["Status", "number"], ["Next try", "nowrap wide"], ["Id", "break wide"], [""]];
const STATES = ["pending", "delivered", "failed", "cancelled"];

export function deliveries(view, notice) {
  const state = el("select", { "aria-label": "State", onchange: () => list() }, el("option", { value: "" }, "all states"), STATES.map((one) => el("option", { value: one }, one)));
  const webhook = el("input", { type: "search", placeholder: "webhook", "aria-label": "Webhook", size: 12 });
  webhook.addEventListener("keydown", (event) => { if (event.key === "Enter") list(); });
  const counted = el("span", { class: "count", role: "status" });
  const shown = table("Deliveries", COLUMNS, []);
  view.append(el("section", {}, el("div", { class: "bar" }, el("h2", {}, "Deliveries to webhooks"), state, webhook,
    el("button", { type: "button", onclick: () => list() }, "Look again"), counted), shown.frame));

  async function list() {
    if (!live.hello) return;
    if (!live.hello.delivers) { counted.textContent = "this router has no sink of type webhook"; return; }
    const query = new URLSearchParams(Object.entries({ state: state.value, webhook: webhook.value.trim() }).filter(([, value]) => value));
    try {
      const { rows } = await ask(`console/deliveries?${query}`);
      counted.textContent = rows.length ? `${rows.length}, the newest first` : "no deliveries";
      shown.body.replaceChildren(...rows.reverse().map(line));
    } catch (error) {
      counted.textContent = error.message;
    }
  }

  const time = (text) => text?.slice(0, 19).replace("T", " ") ?? "–";
  function line(one) {
    const again = ["failed", "cancelled"].includes(one.state)
      ? el("button", { type: "button", disabled: !live.hello?.changes, onclick: () => retry(one.id) }, "Send again") : null;
    return row(COLUMNS, [time(one.created), one.webhook, one.event_type, one.state, String(one.attempts), String(one.status_code ?? "–"), time(one.next_retry), one.id, again]);
  }

  async function retry(id) {
    try {
      await ask("console/deliveries/retry", { ids: [id] });
      notice(`${id} is sent again`);
    } catch (error) { notice(error.message); }
    await list();
  }

  list();
  return { hello: list };
}
