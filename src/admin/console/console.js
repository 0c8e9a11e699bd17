// The page: which view is shown, the state of the connection, the token.

import { live, connect, hasToken, useToken } from "./feed.js";
import { el, mark } from "./elements.js";
import { deliveries } from "./deliveries.js";
import { events } from "./events.js";
import { letters } from "./letters.js";
import { overview } from "./topology.js";
import { playground } from "./playground.js";
import { plots } from "./plots.js";
import { plugins } from "./plugins.js";

// Each makes its nodes once it is shown, and returns what to do at news and at its end.
const VIEWS = {
  overview: ["Overview", overview], plots: ["Plots", plots], events: ["Events", events], letters: ["Dead letters", letters],
  deliveries: ["Deliveries", deliveries], plugins: ["Plugins", plugins], playground: ["Playground", playground],
};

const by = (id) => document.getElementById(id);
let shown = {};

function show() {
  const name = location.hash.slice(1).split("?")[0];
  const [title, view] = VIEWS[name] ?? VIEWS.overview;
  shown.leave?.();
  by("view").replaceChildren();
  for (const link of by("views").children) {
    if (link.textContent === title) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  document.title = `${title} – trommel`;
  shown = view(by("view"), notice) ?? {};
  shown.topology?.();
  shown.sample?.();
  shown.ended?.();
}

let hiding = 0;
function notice(text) {
  by("notice").textContent = text;
  by("notice").hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { by("notice").hidden = true; }, 8000);
}

function tellState() {
  const { sample, hello, state } = live;
  const words = state !== "live" || !sample ? [state]
    : [mark(sample.level), ` generation ${sample.generation}, version ${hello.version}`,
       hello.changes ? "" : ", read-only: no token is configured"];
  const state_now = words.map((word) => word.textContent ?? word).join("");
  // Said once, not every second.
  if (by("state").textContent !== state_now) by("state").replaceChildren(...words);
  by("token").hidden = !(state === "a token is needed" || hasToken());
  if (state === "a token is needed" && !by("ask").open) by("ask").showModal();
}

by("views").append(...Object.entries(VIEWS).map(([name, [title]]) => el("a", { href: `#${name}` }, title)));
by("skip").addEventListener("click", (event) => { event.preventDefault(); by("view").focus(); });
by("token").addEventListener("click", () => by("ask").showModal());
by("ask-leave").addEventListener("click", () => by("ask").close());
by("ask-use").addEventListener("click", () => {
  by("ask").close();
  useToken(by("ask-token").value.trim());
  by("ask-token").value = "";
});
by("ask-token").addEventListener("keydown", (event) => { if (event.key === "Enter") by("ask-use").click(); });
addEventListener("hashchange", show);
// Views by their number, as the tabs stand.
addEventListener("keydown", (event) => {
  const link = by("views").children[Number(event.key) - 1];
  if (link && event.altKey && !event.ctrlKey) { event.preventDefault(); link.click(); by("view").focus(); }
});
for (const news of ["topology", "sample", "ended", "hello"]) live.addEventListener(news, () => shown[news]?.());
live.addEventListener("sample", tellState);
live.addEventListener("state", tellState);
show();
connect();
