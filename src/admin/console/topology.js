// Overview: what is wrong, the topology, and every part with its counts.

import { ask, live, rateOf, ratesOf, troubleOf } from "./feed.js";
import { bytes, count, el, isPressed, mark, nanos, rate, refill, row, table } from "./elements.js";
import { draw, graphOf, isShown, levelOf } from "./picture.js";

/** Keys in the picture; the others are one node. */
const SHOWN = 12;
/** Keys in the table; the search finds the others. */
const LISTED = 25;
const KEYS = [["Key"], ["Health"], ["Matched", "number"], ["Last minute", "wide"], ["Outputs", "number"], ["Filtered", "number wide"],
  ["Dead", "number"], ["Waiting", "number wide"], ["Filter", "wide"]];
const ENDS = [["Part"], ["Health"], ["Rate", "number"], ["Last minute", "wide"], ["Total", "number"], ["Open", "number"], ["Lost", "number"], ["p99", "number wide"]];

/** What hurts comes first: illness, then deaths, then what waits, then what is busy. */
const hurts = ({ name, dead_lettered, waiting }) =>
  [{ ok: 0, degraded: 1, down: 2 }[levelOf("key", name)], rateOf(`key/${name}`, "dead_lettered"), dead_lettered, waiting, rateOf(`key/${name}`, "matched")];
function worst(one, other) {
  const [a, b] = [hurts(one), hurts(other)];
  const at = a.findIndex((value, at) => value !== b[at]);
  return at < 0 ? one.name.localeCompare(other.name) : b[at] - a[at];
}

export function overview(view, notice) {
  const troubles = el("ul", { class: "troubles" });
  const ill = el("section", { "aria-label": "What is wrong", hidden: true }, el("h2", {}, "What is wrong"), troubles);
  const picture = el("div", { class: "picture" });
  const search = el("input", { type: "search", placeholder: "name of a key or filter", "aria-label": "Search keys", oninput: () => { chosenAt = 0; sample(); } });
  const group = el("select", { "aria-label": "Keys in the picture", onchange: () => { chosenAt = 0; sample(); } },
    el("option", { value: "worst" }, `the ${SHOWN} that hurt most`), el("option", { value: "filter" }, "by filter"), el("option", { value: "all" }, "all"));
  const counted = el("span", { class: "count" });
  const detail = el("section", { "aria-label": "Chosen part", hidden: true });
  const ends = table("Sources and sinks", ENDS, []), keys = table("Keys", KEYS, []);
  view.append(ill,
    el("section", { "aria-label": "Topology" }, el("div", { class: "bar" }, el("h2", {}, "Topology"), search, el("label", {}, "Keys ", group), counted), picture),
    detail,
    el("section", {}, el("h2", {}, "Sources and sinks"), ends.frame),
    el("section", {}, el("h2", {}, "Keys, the worst first"), keys.frame));

  let chosenAt = 0, names = [], drawing = null, chosen = null, shape = "", told = "";
  const resized = new ResizeObserver(() => { shape = ""; sample(); });
  resized.observe(picture);

  function matching() {
    const wanted = search.value.trim().toLowerCase();
    const fits = ({ name, filter }) => name.toLowerCase().includes(wanted) || filter?.toLowerCase().includes(wanted);
    return wanted ? live.topology.keys.filter(fits) : live.topology.keys;
  }

  /** The keys that the picture shows: chosen every few seconds, lest it never rests. */
  function shownKeys(sorted) {
    const found = matching();
    if (Date.now() - chosenAt > 5000) {
      chosenAt = Date.now();
      const ranked = sorted.map((key) => key.name).filter((name) => found.some((key) => key.name === name));
      names = ranked.slice(0, group.value === "all" ? 1000 : group.value === "filter" ? 0 : SHOWN);
    }
    const shown = found.filter((key) => names.includes(key.name));
    return { shown, others: found.filter((key) => !names.includes(key.name)), found };
  }

  function sample() {
    if (!live.sample || !live.topology) return;
    const sorted = [...live.sample.keys].sort(worst);
    const { shown, others, found } = shownKeys(sorted);
    counted.textContent = `${found.length} of ${live.topology.keys.length} keys, ${live.topology.filters.length} filters`;
    ill.hidden = !live.sample.troubles.length;
    if (JSON.stringify(live.sample.troubles) !== told) {
      told = JSON.stringify(live.sample.troubles);
      troubles.replaceChildren(...live.sample.troubles.map(trouble));
    }
    const width = picture.clientWidth;
    if (width > 0) {
      const now = JSON.stringify([width, live.topology.generation, shown.map((key) => key.name), others.length, live.sample.sources.length,
        live.sample.sinks.map((sink) => sink.queued > 0)]);
      if (now !== shape && !isPressed(picture)) {
        shape = now;
        drawing = draw(graphOf(shown, others), width, choose);
        const focused = picture.contains(document.activeElement) && document.activeElement.dataset.id;
        picture.replaceChildren(drawing.drawn);
        if (focused) picture.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
        frame();
      }
      drawing.update();
    }
    const parts = [...live.sample.sources.filter(isShown).map((source) => endRow("source", source)), ...live.sample.sinks.map((sink) => endRow("sink", sink))];
    refill(ends.body, parts);
    refill(keys.body, sorted.filter((key) => found.some(({ name }) => name === key.name)).slice(0, LISTED).map(keyRow));
    if (chosen) tell();
  }

  const name = (kind, name) => el("button", { type: "button", class: "plain", onclick: () => choose({ kind, name, label: name }) }, name);
  const spark = (part, counter) => Object.assign(el("live-spark"), { values: ratesOf(part, counter) });
  const keyRow = (key) => row(KEYS, [name("key", key.name), mark(levelOf("key", key.name)), rate(rateOf(`key/${key.name}`, "matched")),
    spark(`key/${key.name}`, "matched"), count(key.outputs), count(key.filtered), count(key.dead_lettered), bytes(key.waiting),
    live.topology.keys.find((one) => one.name === key.name)?.filter ?? "–"]);
  function endRow(kind, part) {
    const counter = kind === "source" ? "received" : "written";
    const open = kind === "source" ? part.in_flight : Math.max(0, part.queued - part.written - part.skipped - part.dead_lettered - part.returned);
    const lost = part.dead_lettered + (kind === "source" ? part.failed : part.skipped);
    return row(ENDS, [el("span", {}, el("span", { class: "soft" }, `${kind} `), name(kind, part.name)), mark(levelOf(kind, part.name)),
      rate(rateOf(`${kind}/${part.name}`, counter)), spark(`${kind}/${part.name}`, counter), count(part[counter]), count(open), count(lost), nanos(part.latency?.p99)]);
  }
  const trouble = ({ kind, name, level, why, remedy, since }) => el("li", {}, mark(level), ` ${kind} `, el("strong", {}, name), `: ${why} `,
    el("span", { class: "soft" }, `since ${new Date(since).toLocaleTimeString()}; ${remedy}`));

  function choose(node) {
    if (node.kind === "others") { group.value = "all"; chosenAt = 0; return sample(); }
    chosen = node;
    detail.hidden = false;
    detail.replaceChildren();
    frame();
    tell();
    detail.scrollIntoView({ block: "nearest" });
  }

  function frame() {
    for (const group of picture.querySelectorAll(".node")) group.classList.toggle("chosen", group.dataset.id === `${chosen?.kind}/${chosen?.name}`);
  }

  function tell() {
    const { kind, name } = chosen;
    const counts = live.sample[`${kind}s`].find((part) => part.name === name);
    if (!counts) { detail.hidden = true; chosen = null; return; }
    if (isPressed(detail)) return;
    const body = [];
    for (const [counter, value] of Object.entries(counts)) {
      if (counter === "name" || value == null || typeof value === "object") continue;
      const shown = typeof value !== "number" ? String(value) : counter.endsWith("_ns") ? nanos(value) : counter === "waiting" ? bytes(value) : value.toLocaleString("en");
      body.push(el("div", {}, el("dt", {}, counter.replace("_ns", " time").replaceAll("_", " ")), el("dd", {}, shown)));
    }
    const parts = [el("div", { class: "bar" }, el("h2", {}, `${kind} ${name}`), mark(levelOf(kind, name)), ...actions(kind, name)), el("dl", { class: "counts" }, body)];
    if (kind === "key") parts.push(...routes(name));
    if (kind === "source") parts.push(...lastEvents(name));
    const focused = detail.contains(document.activeElement) && document.activeElement.textContent;
    detail.replaceChildren(...parts);
    if (focused) [...detail.querySelectorAll("button")].find((button) => button.textContent === focused)?.focus();
  }

  function actions(kind, name) {
    if (kind === "filter") return [];
    const paused = troubleOf(kind, name)?.paused;
    const act = async (path, done) => {
      try { await ask(path, { kind, name }); notice(`${kind} ${name} ${done}`); } catch (error) { notice(error.message); }
    };
    const off = !live.hello.changes && "the listener is read-only: give `[admin]` a `token_file`";
    const button = (title, path, done) => el("button", { type: "button", disabled: Boolean(off), title: off || null, onclick: () => act(path, done) }, title);
    const buttons = paused ? [button("Resume", "control/resume", "goes on")] : [button("Pause", "control/pause", "is paused")];
    if (kind === "key") buttons.push(el("a", { href: `#playground?${new URLSearchParams({ key: name })}` }, "Explain an event"));
    return buttons;
  }

  function routes(name) {
    const key = live.topology.keys.find((key) => key.name === name);
    if (!key) return [];
    const lines = key.routes.map(({ name, conditions, sinks }) => el("li", {}, el("strong", {}, name), " → ", sinks.join(", ") || "no sink",
      conditions.map((lists) => el("div", { class: "mono break" }, `where ${lists.join("  or  ")}`))));
    const takes = key.subject ? `takes ${key.subject}` : "takes by event type";
    return [el("p", { class: "soft" }, `${takes}${key.filter ? `, filter ${key.filter}` : ", no filter"}`), el("ul", {}, lines)];
  }

  function lastEvents(name) {
    const last = live.ended.filter((event) => event.source === name).slice(0, 8);
    const line = (event) => el("li", {}, `${event.event_type} ${event.id} `, el("span", { class: event.fate }, event.fate.replace("_", "-")), event.reason ? `: ${event.reason}` : "");
    return last.length ? [el("h3", {}, "Ended last"), el("ul", { class: "break" }, last.map(line))] : [];
  }

  return { sample, topology: () => { shape = ""; sample(); }, leave: () => resized.disconnect() };
}
