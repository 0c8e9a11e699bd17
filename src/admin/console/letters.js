// Dead letters: which there are, what is in them, once more or away with them.

import { ask, exact, live } from "./feed.js";
import { counted as plural, el, row, table } from "./elements.js";

const COLUMNS = [[""], ["Id", "number"], ["Time", "nowrap wide"], ["Reason"], ["Key", "wide"], ["Type", "break"], ["Detail", "break"], [""]];

export function letters(view, notice) {
  const reason = el("input", { type: "search", placeholder: "reason", "aria-label": "Reason", size: 12 });
  const key = el("input", { type: "search", placeholder: "key", "aria-label": "Key", size: 12 });
  const look = el("button", { type: "button", onclick: () => list() }, "Look again");
  const counted = el("span", { class: "count", role: "status" });
  const all = el("input", { type: "checkbox", "aria-label": "Choose all", onchange: () => {
    for (const box of shown.body.querySelectorAll("input")) box.checked = all.checked;
    tell();
  } });
  const retry = el("button", { type: "button", class: "main", onclick: () => run("retry", chosen()) }, "Retry chosen");
  const drop = el("button", { type: "button", onclick: () => run("drop", chosen()) }, "Drop chosen");
  const results = el("ul", { class: "troubles", "aria-label": "Results", "aria-live": "polite" });
  const shown = table("Dead letters", COLUMNS, []);
  shown.frame.querySelector("th").append(all);
  for (const field of [reason, key]) field.addEventListener("keydown", (event) => { if (event.key === "Enter") list(); });
  view.append(el("section", {}, el("div", { class: "bar" }, el("h2", {}, "Dead letters"), reason, key, look, retry, drop, counted), results, shown.frame));

  let rows = [];
  const chosen = () => [...shown.body.querySelectorAll("input:checked")].map((box) => Number(box.value));

  async function list() {
    counted.textContent = "looking";
    const query = new URLSearchParams(Object.entries({ reason: reason.value.trim(), key: key.value.trim() }).filter(([, value]) => value));
    try {
      ({ rows } = await ask(`console/letters?${query}`, undefined, exact));
      rows.reverse();
      counted.textContent = rows.length ? `${plural(rows.length, "dead letter")}, the newest first` : "no dead letters";
      shown.body.replaceChildren(...rows.map(line));
    } catch (error) {
      counted.textContent = error.message;
    }
    tell();
  }

  function line(letter) {
    const box = el("input", { type: "checkbox", value: letter.letter, "aria-label": `Choose dead letter ${letter.letter}`, onchange: tell });
    const again = el("button", { type: "button", class: "act", onclick: () => run("retry", [letter.letter]) }, "Retry");
    const open = el("button", { type: "button", class: "plain", "aria-expanded": "false", onclick: () => toggle(made, letter, open) }, String(letter.letter));
    const unproven = letter.proven === false ? "unproven: " : "";
    const made = row(COLUMNS, [box, open, letter.time?.slice(0, 19).replace("T", " "), letter.reason ?? "no letter", letter.key || "–",
      letter.event_type ?? "–", `${unproven}${(letter.detail ?? letter.no_letter ?? "").slice(0, 240)}`, again]);
    return made;
  }

  function toggle(made, letter, open) {
    const isOpen = open.getAttribute("aria-expanded") === "true";
    open.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) return made.nextSibling.remove();
    const { payload, payload_text, payload_base64, headers = [], ...facts } = letter;
    const known = Object.entries(facts).filter(([, value]) => value !== "" && value != null && typeof value !== "object");
    const body = payload !== undefined ? JSON.stringify(payload, null, 2) : payload_text ?? payload_base64 ?? "";
    const event = { id: letter.id, event_type: letter.event_type, subject: letter.subject, headers: Object.fromEntries(headers),
      ...(payload !== undefined ? { payload } : payload_text !== undefined ? { payload_text } : payload_base64 !== undefined ? { payload_base64 } : {}) };
    const query = new URLSearchParams({ ...(letter.key ? { key: letter.key } : {}), event: JSON.stringify(event) });
    made.after(el("tr", {}, el("td", { colspan: COLUMNS.length },
      el("dl", {}, known.map(([name, value]) => [el("dt", {}, name.replaceAll("_", " ")), el("dd", {}, String(value))])),
      headers.length ? [el("h3", {}, "Headers"), el("pre", {}, headers.map((pair) => pair.join(": ")).join("\n"))] : null,
      el("h3", {}, "Payload"), el("pre", {}, body),
      el("a", { href: `#playground?${query}` }, "See what would become of it now"))));
  }

  function tell() {
    const count = chosen().length;
    const may = live.hello?.changes;
    retry.disabled = drop.disabled = !count || !may;
    for (const button of shown.body.querySelectorAll("button.act")) button.disabled = !may;
    retry.title = drop.title = may ? "" : "read-only: give `[admin]` a `token_file`";
    retry.textContent = count ? `Retry ${count}` : "Retry chosen";
    drop.textContent = count ? `Drop ${count}` : "Drop chosen";
  }

  async function run(what, ids) {
    if (what === "drop" && !confirm(`Drop ${plural(ids.length, "dead letter")} for good?`)) return;
    retry.disabled = drop.disabled = true;
    results.replaceChildren(el("li", { class: "soft" }, `${what === "retry" ? "retrying" : "dropping"} ${ids.length}…`));
    try {
      const { rows: ended } = await ask(`console/letters/${what}`, { ids });
      results.replaceChildren(...ended.map((end) => el("li", {}, what === "drop" ? `${end.dropped} dropped` : became(end))));
    } catch (error) {
      results.replaceChildren(el("li", { class: "down" }, error.message));
      notice(error.message);
    }
    await list();
  }

  const became = ({ letter, event, result, outputs, dead = [] }) => {
    const sent = Object.entries(outputs ?? {}).map(([sink, number]) => (Array.isArray(number) ? `${number[1]} to ${number[0]}` : `${number} to ${sink}`));
    return `${letter} (${event}): ${[result, sent.join(", "), dead.map(({ reason, detail }) => `${reason}: ${detail}`).join("; ")].filter(Boolean).join(", ")}`;
  };

  list();
  return { hello: tell };
}
