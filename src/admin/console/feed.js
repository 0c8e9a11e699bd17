// The router's live picture: one stream of server-sent events, read with `fetch` so that it can carry the token.

const KEPT = 60;
const TOKEN = "trommel-token";

/** What is known of the router; tells of `hello`, `topology`, `sample`, `ended` and `state`. */
export const live = Object.assign(new EventTarget(), {
  hello: null, topology: null, sample: null, history: [], ended: [],
  /** Rates per second of the last minute, by part and counter: `key/orders/matched`. */
  rates: new Map(),
  state: "connecting",
});

const tell = (what) => live.dispatchEvent(new Event(what));
const headers = () => {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
};

export const hasToken = () => sessionStorage.getItem(TOKEN) != null;
export function useToken(token) {
  if (token) sessionStorage.setItem(TOKEN, token); else sessionStorage.removeItem(TOKEN);
  attempt?.abort();
}

/** The last rate of a counter. */
export const rateOf = (part, counter) => live.rates.get(`${part}/${counter}`)?.at(-1) ?? 0;
export const ratesOf = (part, counter) => live.rates.get(`${part}/${counter}`) ?? [];
/** What is wrong with a part. */
export const troubleOf = (kind, name) => live.sample?.troubles.find((part) => part.kind === kind && part.name === name);

/** For `JSON.parse`: numbers that would be written otherwise, such as `1.0`, become what `JSON.stringify` writes as they came. */
export const exact = (_, value, told) =>
  (typeof value === "number" && JSON.rawJSON && told?.source !== String(value) ? JSON.rawJSON(told.source) : value);

/** Sends a request, whose body may be JSON already; fails with what the router says. `as` is for the numbers of the answer. */
export async function ask(path, body, as) {
  const request = body === undefined ? { headers: headers() }
    : { method: "POST", headers: { ...headers(), "Content-Type": "application/json" }, body: typeof body === "string" ? body : JSON.stringify(body) };
  const answer = await fetch(path, request);
  const text = await answer.text();
  let said = null;
  try { said = JSON.parse(text, as); } catch { /* Said in words. */ }
  if (answer.ok) return said;
  if (answer.status === 404 && !said) throw new Error(`this router has no \`${path}\`: it is of another version`);
  const { message, hint } = said?.error ?? {};
  throw new Error(message ? [message, hint].filter(Boolean).join("; ") : text.trim() || `status ${answer.status}`);
}

/** Calls `each` with the fields of every event of a stream, until it ends. */
export async function follow(path, signal, each) {
  const answer = await fetch(path, { headers: headers(), signal, cache: "no-store" });
  if (!answer.ok) throw Object.assign(new Error((await answer.text()).trim()), { status: answer.status });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const fields = Object.fromEntries(event.split("\n").map((line) => line.split(/: ?(.*)/s, 2)));
      if (fields.data !== undefined) each(fields);
    }
  }
}

function counters(sample) {
  const found = [];
  for (const [kind, parts] of [["source", sample.sources], ["key", sample.keys], ["filter", sample.filters], ["sink", sample.sinks]]) {
    for (const { name, ...values } of parts) {
      for (const [counter, value] of Object.entries(values)) {
        if (typeof value === "number") found.push([`${kind}/${name}/${counter}`, value]);
      }
      for (const [sink, value] of Object.entries(values.sent ?? {})) found.push([`${kind}/${name}/sent/${sink}`, value]);
    }
  }
  return new Map(found);
}

let before = null;
function take(sample) {
  const now = counters(sample);
  if (before && sample.time > before.time) {
    const seconds = (sample.time - before.time) / 1000;
    for (const [name, value] of now) {
      const series = live.rates.get(name) ?? live.rates.set(name, []).get(name);
      // A counter that begins anew has gone down.
      series.push(Math.max(0, value - (before.counts.get(name) ?? value)) / seconds);
      if (series.length > KEPT) series.shift();
    }
    for (const name of live.rates.keys()) if (!now.has(name)) live.rates.delete(name);
  }
  before = { time: sample.time, counts: now };
  live.sample = sample;
  const last = live.history.at(-1);
  if (!last || sample.time - last.time >= 9_500) {
    const total = (counter) => sample.sources.reduce((sum, source) => sum + source[counter], 0);
    const names = ["received", "emitted", "filtered", "failed", "dead_lettered", "in_flight", "lag"];
    const worst = sample.sources.map((source) => source.latency).filter(Boolean).sort((a, b) => b.p99 - a.p99)[0];
    live.history.push({ time: sample.time, latency: worst ?? null, ...Object.fromEntries(names.map((name) => [name, total(name)])) });
    if (live.history.length > 361) live.history.shift();
  }
}

function receive(message) {
  // The events that ended last follow: those of an earlier connection would be there twice.
  if (message.type === "hello") Object.assign(live, { hello: message, history: message.history, ended: [] });
  if (message.type === "topology") live.topology = message;
  if (message.type === "sample") take(message);
  if (message.type === "ended") {
    live.missed = message.missed;
    live.ended = message.events.reverse().concat(live.ended).slice(0, 500);
  }
  tell(message.type);
}

function state(said) {
  if (live.state === said) return;
  live.state = said;
  tell("state");
}

// A tab that is not looked at holds no connection, of which a browser has six.
const change = () => new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
document.addEventListener("visibilitychange", () => { if (document.hidden) attempt?.abort(); });

let attempt = null;
export async function connect() {
  for (let wait = 500; ; wait = Math.min(wait * 2, 8000)) {
    while (document.hidden) await change();
    attempt = new AbortController();
    try {
      await follow("console/feed", attempt.signal, ({ data }) => { receive(JSON.parse(data)); state("live"); wait = 500; });
      state("the router has ended");
    } catch (error) {
      if (attempt.signal.aborted) { before = null; state("connecting"); wait = 250; }
      else state(error.status === 401 ? "a token is needed" : error.status ? error.message : "no connection to the router");
    }
    if (live.state === "a token is needed") await new Promise((resolve) => attempt.signal.addEventListener("abort", resolve));
    else await new Promise((resolve) => setTimeout(resolve, wait));
  }
}
