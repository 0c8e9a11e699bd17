// Plots of the last hour.

import { live } from "./feed.js";
import { clock, count, el, nanos, rate, svg } from "./elements.js";

const LEFT = 52, RIGHT = 8, TOP = 8, BOTTOM = 20;
const HOUR = 3600_000;

const perSecond = (counter) => (point, before) =>
  before && point.time > before.time ? Math.max(0, point[counter] - before[counter]) / ((point.time - before.time) / 1000) : null;
const value = (name) => (point) => point[name];
const quantile = (name) => (point) => point.latency?.[name] ?? null;

const PLOTS = [
  ["Throughput", rate, [["received", perSecond("received")], ["emitted", perSecond("emitted")], ["filtered", perSecond("filtered")]]],
  ["Latency", nanos, [["p50", quantile("p50")], ["p95", quantile("p95")], ["p99", quantile("p99")]]],
  ["Lag and in flight", count, [["lag", value("lag")], ["in flight", value("in_flight")]]],
  ["Dead letters and failures", rate, [["dead letters", perSecond("dead_lettered")], ["failed", perSecond("failed")]]],
];

/** A number that is easy to read, and no less than this one. */
function ceiling(number) {
  if (number <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(number));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= number * 0.999);
}

/** Curves over an hour. The arrow keys move the cross. */
class LivePlot extends HTMLElement {
  connectedCallback() {
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this);
    this.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.addEventListener("pointerleave", () => { this.at = null; this.draw(); });
  }
  disconnectedCallback() { this.resized.disconnect(); }

  point(x) {
    const wanted = this.until - HOUR + ((x - LEFT) / (this.clientWidth - LEFT - RIGHT)) * HOUR;
    let best = null;
    live.history.forEach((point, at) => { if (best === null || Math.abs(point.time - wanted) < Math.abs(live.history[best].time - wanted)) best = at; });
    this.at = best;
    this.draw();
  }
  move(step) {
    this.at = Math.min(live.history.length - 1, Math.max(0, (this.at ?? live.history.length) + step));
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this;
    if (!width || !this.plot) return;
    const [title, format, series] = this.plot;
    this.until = live.history.at(-1)?.time ?? Date.now();
    const values = series.map(([, read]) => live.history.map((point, at) => read(point, live.history[at - 1])));
    const top = ceiling(Math.max(0, ...values.flat().filter((one) => one != null)));
    const x = (time) => LEFT + ((time - this.until + HOUR) / HOUR) * (width - LEFT - RIGHT);
    const y = (one) => TOP + (1 - one / top) * (height - TOP - BOTTOM);
    const parts = [0, 0.5, 1].map((share) => [
      svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(share * top), y2: y(share * top) }),
      svg("text", { x: LEFT - 6, y: y(share * top) + 4, "text-anchor": "end" }, format(share * top)),
    ]).flat();
    for (const minutes of [60, 40, 20, 0]) {
      const anchor = minutes === 60 ? "start" : minutes ? "middle" : "end";
      parts.push(svg("text", { x: x(this.until - minutes * 60_000), y: height - 5, "text-anchor": anchor }, minutes ? `−${minutes} min` : "now"));
    }
    values.forEach((curve, number) => {
      let path = "", pen = "M";
      curve.forEach((one, at) => {
        if (one == null) { pen = "M"; return; }
        path += `${pen}${x(live.history[at].time).toFixed(1)},${y(one).toFixed(1)}`;
        pen = "L";
      });
      parts.push(svg("path", { class: `curve s${number + 1}`, d: path }));
    });
    const at = this.at ?? live.history.length - 1;
    if (this.at != null) parts.push(svg("line", { class: "cross", x1: x(live.history[at].time), x2: x(live.history[at].time), y1: TOP, y2: height - BOTTOM }));
    const words = series.map(([name], number) => {
      const one = values[number][at];
      return [name, one == null ? "–" : format(one)];
    });
    this.tell(words, this.at == null ? null : live.history[at].time);
    const said = `${title}, the last hour: ${words.map((pair) => pair.join(" ")).join(", ")}`;
    const drawn = this.querySelector("svg") ?? this.appendChild(svg("svg", { role: "img", tabindex: 0 }));
    if (!drawn.dataset.keys) {
      drawn.dataset.keys = "yes";
      drawn.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -30, PageDown: 30 }[event.key];
        if (step) { event.preventDefault(); this.move(step); }
      });
    }
    drawn.setAttribute("viewBox", `0 0 ${width} ${height}`);
    drawn.setAttribute("aria-label", said);
    drawn.replaceChildren(...parts);
  }
}
customElements.define("live-plot", LivePlot);

export function plots(view) {
  const frame = el("div", { class: "plots" });
  view.append(frame);
  const all = PLOTS.map((plot) => {
    const legend = el("span", {}), plotted = el("live-plot"), time = el("span", { class: "soft" });
    Object.assign(plotted, { plot, tell: (words, at) => {
      time.textContent = at ? clock(at) : "";
      legend.replaceChildren(...words.map(([name, now], number) => el("span", { class: `swatch s${number + 1}` }, `${name} ${now}  `)));
    } });
    const figure = el("figure", {}, el("figcaption", {}, el("h2", {}, plot[0]), time, legend), plotted);
    frame.append(figure);
    return { figure, plotted, isLatency: plot[0] === "Latency" };
  });
  const draw = () => {
    for (const { figure, plotted, isLatency } of all) {
      // A router that measures no latency has no plot of it.
      figure.hidden = isLatency && !live.history.some((point) => point.latency);
      plotted.draw();
    }
  };
  return { hello: draw, sample: draw };
}
