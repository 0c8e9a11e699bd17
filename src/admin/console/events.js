// The events that ended last, with what became of each, and the outputs of one key as they come.

import { exact, follow, live } from "./feed.js";
import { clock, el, refill, row, table } from "./elements.js";

const ENDED = [["Time", "nowrap"], ["Fate"], ["Type", "break"], ["Subject", "break wide"], ["Id", "break wide"], ["Tenant", "break wide"], ["Source", "wide"]];
const OUTPUTS = [["Sequence", "number"], ["Type", "break"], ["Subject", "break wide"], ["Payload", "break"]];
const FATES = ["emitted", "filtered", "skipped", "dead_lettered", "failed"];
const SHOWN = 200;

export function events(view, notice) {
  let pausedWith = null;
  const fate = el("select", { "aria-label": "Fate", onchange: () => ended() }, el("option", { value: "" }, "all fates"), FATES.map((one) => el("option", { value: one }, one.replace("_", "-"))));
  const search = el("input", { type: "search", placeholder: "type, subject, id, tenant", "aria-label": "Search events", oninput: () => ended() });
  const pause = el("button", { type: "button", "aria-pressed": "false", onclick: () => {
    pausedWith = pausedWith ? null : live.ended;
    pause.setAttribute("aria-pressed", String(Boolean(pausedWith)));
    pause.textContent = pausedWith ? "Go on" : "Hold";
    ended();
  } }, "Hold");
  const counted = el("span", { class: "count" });
  const shown = table("Events that ended last", ENDED, []);

  const key = el("select", { "aria-label": "Key to follow", onchange: () => watch() });
  const outputs = table("Outputs of the key", OUTPUTS, []);
  const standing = el("span", { class: "count", role: "status" });
  view.append(
    el("section", {}, el("div", { class: "bar" }, el("h2", {}, "Ended events"), fate, search, pause, counted), shown.frame),
    el("section", {}, el("div", { class: "bar" }, el("h2", {}, "Outputs of a key"), key, standing), outputs.frame));

  function ended() {
    const wanted = search.value.trim().toLowerCase();
    const fits = (event) => (!fate.value || event.fate === fate.value)
      && (!wanted || [event.event_type, event.subject, event.id, event.tenant ?? "", event.reason ?? ""].some((text) => text.toLowerCase().includes(wanted)));
    const found = (pausedWith ?? live.ended).filter(fits);
    counted.textContent = `${found.length} of the last ${(pausedWith ?? live.ended).length}${live.missed ? `; ${live.missed} more went by in that second` : ""}`;
    refill(shown.body, found.slice(0, SHOWN).map((event) => row(ENDED, [clock(event.time),
      el("span", { class: event.fate }, event.fate.replace("_", "-"), event.reason ? `: ${event.reason}` : ""),
      event.event_type, event.subject, event.id, event.tenant ?? "", event.source])));
  }

  function topology() {
    const before = key.value;
    key.replaceChildren(el("option", { value: "" }, "choose a key"), ...(live.topology?.keys ?? []).map(({ name }) => el("option", { value: name }, name)));
    key.value = before;
  }

  let following = null;
  async function watch() {
    following?.abort();
    outputs.body.replaceChildren();
    standing.textContent = "";
    if (!key.value) return;
    const own = (following = new AbortController());
    standing.textContent = "waiting for outputs";
    try {
      await follow(`tail?${new URLSearchParams({ key: key.value })}`, own.signal, ({ event, data }) => {
        const said = JSON.parse(data, exact);
        if (event === "missed") { standing.textContent = `${said.outputs ?? 0} outputs were too fast to be shown`; return; }
        if (event === "end") { standing.textContent = said.reason; return; }
        outputs.body.prepend(row(OUTPUTS, [String(said.seq), said.event_type, said.subject, el("code", {}, JSON.stringify(said.payload).slice(0, 600))]));
        while (outputs.body.children.length > 100) outputs.body.lastChild.remove();
      });
    } catch (error) {
      if (!own.signal.aborted) { standing.textContent = error.message; notice(error.message); }
    }
  }

  return { ended, hello: ended, topology, leave: () => following?.abort() };
}
