// The picture of the topology: sources, keys, filters and sinks in columns, with their rates on the edges.

import { live, rateOf, troubleOf } from "./feed.js";
import { SIGNS, cut, rate, svg } from "./elements.js";

const HIGH = 34, GAP = 10, TOP = 26;
const TITLES = ["SOURCES", "KEYS", "FILTERS", "SINKS"];

const LEVELS = ["ok", "degraded", "down"];
const worse = (one, other) => (LEVELS.indexOf(one) > LEVELS.indexOf(other) ? one : other);

/** Health of a part; a key is as well as its filter, and not well while events die in it. */
export function levelOf(kind, name) {
  const own = troubleOf(kind, name)?.level ?? "ok";
  if (kind !== "key") return own;
  const filter = live.topology?.keys.find((key) => key.name === name)?.filter;
  const dies = rateOf(`key/${name}`, "dead_lettered") > 0 ? "degraded" : "ok";
  return worse(own, worse(dies, filter ? levelOf("filter", filter) : "ok"));
}

/** Nodes and edges of the shown keys; the others are one node together. */
export function graphOf(keys, others) {
  const { topology, sample } = live;
  const nodes = [], edges = [];
  const add = (column, kind, name, label = name) => nodes.push({ column, kind, name, label, id: `${kind}/${name}` });
  for (const source of sample.sources) {
    if (!isShown(source)) continue;
    add(0, "source", source.name);
    edges.push({ from: `source/${source.name}`, rate: () => rateOf(`source/${source.name}`, "received") });
  }
  // Those without a filter below: their edges go past the filters.
  keys = [...keys].sort((one, other) => (one.filter ? 0 : 1) - (other.filter ? 0 : 1));
  for (const key of keys) add(1, "key", key.name);
  if (others.length) add(1, "others", "others", `${others.length} more keys`);
  const filters = new Set(), dead = topology.dead_letters;
  const sinks = new Set(topology.sinks.filter((name) => name !== dead || sinkRan(dead)));
  const flow = (key, id) => {
    const to = key.filter ? `filter/${key.filter}` : null;
    edges.push({ to: id, rate: () => rateOf(`key/${key.name}`, "matched") });
    if (to) { filters.add(key.filter); edges.push({ from: id, to, rate: () => rateOf(`key/${key.name}`, "matched") }); }
    for (const sink of new Set(key.routes.flatMap((route) => route.sinks))) {
      if (!topology.sinks.includes(sink)) continue;
      edges.push({ from: to ?? id, to: `sink/${sink}`, rate: () => rateOf(`key/${key.name}`, `sent/${sink}`) });
    }
    const dies = sample.keys.some(({ name, dead_lettered }) => name === key.name && dead_lettered > 0);
    if (dies && sinks.has(dead)) edges.push({ from: to ?? id, to: `sink/${dead}`, rate: () => rateOf(`key/${key.name}`, "dead_lettered"), dead: true });
  };
  for (const key of keys) flow(key, `key/${key.name}`);
  for (const key of others) flow(key, "others/others");
  for (const name of filters) add(2, "filter", name);
  for (const name of sinks) add(3, "sink", name);
  return { nodes, edges: joined(edges) };
}

/** Ticks of filters come from within, and concern few. */
export const isShown = (source) => source.name !== "filter ticks" || source.received > 0;
const sinkRan = (name) => (live.sample.sinks.find((sink) => sink.name === name)?.queued ?? 0) > 0;

/** Edges with the same ends are one, whose rate is their sum. */
function joined(edges) {
  const all = new Map();
  for (const { from, to, rate: one, dead } of edges) {
    const id = `${from}>${to}`;
    const edge = all.get(id) ?? all.set(id, { from, to, dead: true, rates: [] }).get(id);
    edge.rates.push(one);
    edge.dead &&= Boolean(dead);
  }
  return [...all.values()].map((edge) => ({ ...edge, rate: () => edge.rates.reduce((sum, one) => sum + one(), 0) }));
}

/** Draws the graph; returns the drawing and what brings its rates and health up to date. */
export function draw({ nodes, edges }, width, choose) {
  const columns = [0, 1, 2, 3].map((column) => nodes.filter((node) => node.column === column));
  const tallest = Math.max(...columns.map((column) => column.length), 1);
  const high = TOP + tallest * (HIGH + GAP) + 4;
  const wide = Math.min(220, (width - 3 * 70) / 4);
  const step = (width - 2 - wide) / 3;
  const places = new Map();
  columns.forEach((column, at) => {
    // Short columns stand in the middle of the tall one.
    const pause = Math.min(60, (tallest * (HIGH + GAP) - column.length * HIGH) / (column.length + 1));
    const used = column.length * HIGH + (column.length + 1) * pause;
    const from = TOP + (tallest * (HIGH + GAP) - used) / 2;
    column.forEach((node, place) => places.set(node.id, { x: 1 + at * step, y: from + pause + place * (HIGH + pause) }));
  });
  // Filters stand beside their keys, so that what passes them by has room.
  let free = TOP;
  for (const node of columns[2]) {
    const heights = edges.filter(({ from, to }) => to === node.id && from).map(({ from }) => places.get(from).y);
    const mean = heights.reduce((sum, y) => sum + y, 0) / (heights.length || 1);
    const y = Math.max(free, Math.min(mean, high - 4 - HIGH));
    places.set(node.id, { x: 1 + 2 * step, y });
    free = y + HIGH + GAP;
  }
  const spine = wide + (step - wide) * 0.38;
  const middle = TOP + (tallest * (HIGH + GAP)) / 2;
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${high}`, height: high, role: "group", "aria-label": "Topology: sources, keys, filters, sinks" });
  TITLES.forEach((title, at) => drawn.append(svg("text", { class: "column", x: at * step, y: 12 }, title)));
  const updates = [];
  for (const edge of edges) {
    const from = edge.from && places.get(edge.from), to = edge.to && places.get(edge.to);
    const start = from ? { x: from.x + wide, y: from.y + HIGH / 2 } : { x: spine, y: within(to.y + HIGH / 2, columns, places) };
    const end = to ? { x: to.x, y: to.y + HIGH / 2 } : { x: spine, y: start.y };
    const bend = (end.x - start.x) / 2;
    const path = svg("path", { class: "edge", d: `M${start.x},${start.y}C${start.x + bend},${start.y} ${end.x - bend},${end.y} ${end.x},${end.y}` });
    const told = svg("text", { class: "rate", "text-anchor": "end", x: end.x - 6, y: end.y - 5 });
    drawn.append(path);
    updates.push(() => {
      const now = edge.rate();
      path.setAttribute("class", `edge${now ? " flows" : ""}${edge.dead ? " dead" : ""}`);
      path.setAttribute("stroke-width", (1 + Math.min(5, Math.log10(1 + now))).toFixed(1));
    });
    edge.text = told;
  }
  const ends = new Map();
  for (const edge of edges) if (edge.to) (ends.get(edge.to) ?? ends.set(edge.to, []).get(edge.to)).push(edge);
  // One rate at each end, the sum of what comes in there.
  for (const coming of ends.values()) {
    drawn.append(coming[0].text);
    updates.push(() => { coming[0].text.textContent = rate(coming.reduce((sum, edge) => sum + edge.rate(), 0)); });
  }
  for (const edge of edges.filter((edge) => !edge.to)) {
    edge.text.setAttribute("x", places.get(edge.from).x + wide + 6);
    edge.text.setAttribute("text-anchor", "start");
    drawn.append(edge.text);
    updates.push(() => { edge.text.textContent = rate(edge.rate()); });
  }
  const span = [...columns[0], ...columns[1]].map((node) => places.get(node.id).y + HIGH / 2).concat(middle);
  drawn.append(svg("line", { class: "spine", x1: spine, x2: spine, y1: Math.min(...span), y2: Math.max(...span) }));
  for (const node of nodes) {
    const { x, y } = places.get(node.id);
    const sign = svg("text", { class: "health", x: 10, y: HIGH / 2 + 4 });
    const group = svg("g", { class: "node", transform: `translate(${x},${y})`, tabindex: 0, role: "button", "data-id": node.id },
      svg("title", {}, node.label),
      svg("rect", { width: wide, height: HIGH, rx: 7 }), sign,
      svg("text", { x: 26, y: HIGH / 2 + 4 }, cut(node.label, Math.floor((wide - 30) / 6.6))));
    const chosen = () => choose(node, group);
    group.addEventListener("click", chosen);
    group.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); chosen(); } });
    drawn.append(group);
    updates.push(() => {
      const level = node.kind === "others" ? "ok" : levelOf(node.kind, node.name);
      for (const one of LEVELS) group.classList.toggle(one, one === level);
      sign.textContent = SIGNS[level];
      group.setAttribute("aria-label", `${node.kind} ${node.label}: ${level}`);
    });
  }
  return { drawn, update: () => updates.forEach((update) => update()) };
}

/** A height on the spine: no higher and no lower than its ends. */
function within(y, columns, places) {
  const all = [...columns[0], ...columns[1]].map((node) => places.get(node.id).y + HIGH / 2);
  return Math.min(Math.max(...all), Math.max(Math.min(...all), y));
}
