// Components in service: which, how old, what they cost and how they are.

import { ask, live, rateOf, ratesOf, troubleOf } from "./feed.js";
import { bytes, count, el, mark, nanos, rate, refill, row, table } from "./elements.js";

const COLUMNS = [["Filter"], ["Health"], ["Version"], ["Digest", "mono wide"], ["Keys", "number"], ["matches", "number"], ["a call", "number wide"],
  ["process", "number"], ["a call", "number"], ["Last minute", "wide"], ["Breaks", "number"], ["Loaded", "number wide"], ["Memory", "number wide"], ["May use", "wide"], [""]];

export function plugins(view, notice) {
  const shown = table("Filters", COLUMNS, []);
  const counted = el("span", { class: "count" });
  view.append(el("section", {}, el("div", { class: "bar" }, el("h2", {}, "Filters in service"), counted), shown.frame,
    el("p", { class: "soft" }, "The time of a call is the mean of a sample. Memory is that of an instance before its first event.")));

  function sample() {
    if (!live.topology || !live.sample) return;
    const counts = new Map(live.sample.filters.map((filter) => [filter.name, filter]));
    const known = new Map(live.topology.filters.map((filter) => [filter.name, filter]));
    counted.textContent = `${known.size} filters`;
    refill(shown.body, [...counts.keys()].filter((name) => known.has(name) || troubleOf("filter", name)).map((name) => line(name, known.get(name), counts.get(name))));
  }

  function line(name, filter, counts) {
    const trouble = troubleOf("filter", name);
    const release = counts.quarantined
      ? el("button", { type: "button", disabled: !live.hello?.changes, "aria-label": `Release ${name}`, onclick: () => lift(name) }, "Release") : null;
    return row(COLUMNS, [el("strong", { title: filter?.description }, name), el("span", { title: trouble?.why }, mark(trouble?.level ?? "ok")), filter?.version ?? "–",
      el("span", { title: filter?.digest }, filter?.digest.slice(0, 12) ?? "–"), String(filter?.keys ?? 0),
      rate(rateOf(`filter/${name}`, "matches")), nanos(counts.match_ns), rate(rateOf(`filter/${name}`, "processes")), nanos(counts.process_ns),
      Object.assign(el("live-spark"), { values: ratesOf(`filter/${name}`, "processes") }),
      count(counts.breaks), String(counts.reloads), filter ? bytes(filter.memory) : "–", filter?.capabilities.join(", ") || "nothing", release]);
  }

  async function lift(filter) {
    try {
      await ask("control/release", { filter });
      notice(`${filter} is released`);
    } catch (error) { notice(error.message); }
  }

  return { sample };
}
