// Runs a filter's class under Node.js, without a router: `node --import ./sdk/testing.mjs --test`.
//
//   import { event, router } from "./sdk/testing.mjs";
//   assert.deepEqual(new MyFilter({ min: "5" }).process(event({ amount: 7 })), edit.set("/large", true));
import { register } from "node:module";

// QuickJS has these; Node.js has them from version 25 on.
Uint8Array.prototype.toBase64 ??= function () { return Buffer.from(this).toString("base64"); };
Uint8Array.fromBase64 ??= (text) => new Uint8Array(Buffer.from(text, "base64"));

/** What stands in for the router: what it was told, and what it answers. One, also for tests that were bundled with this. */
export const router = globalThis[Symbol.for("trommel.router")] ??= {
  /** Lines that were logged: `{ level, message, fields }`. */
  lines: [],
  /** What was measured, and what spans got: pairs of name and value. */
  measures: [],
  annotations: [],
  /** The store. A ttl is not kept. */
  state: new Map(),
  /** Answers a request: `{ status, headers, body }`. */
  api({ method, path }) {
    throw refusal({ tag: "denied", val: `\`${method} ${path}\`: the test answers no calls` });
  },
};

// As QuickJS throws what the router refuses.
const refusal = (payload) => Object.assign(new Error("refused"), { payload });

const known = (key) => router.state.get(key) ?? null;
const same = (a, b) => (a === null || b === null ? a === b : Buffer.from(a).equals(Buffer.from(b)));
const interfaces = {
  api: {
    call(request) {
      const { status = 200, headers = [], body = "" } = router.api(request);
      return { status, headers, body: new Uint8Array(Buffer.from(body)) };
    },
  },
  log: {
    enabled: () => true,
    write: (level, message, fields) => { router.lines.push({ level, message, fields: Object.fromEntries(fields) }); },
  },
  random: { getRandomBytes: (count) => crypto.getRandomValues(new Uint8Array(count)) },
  state: {
    get: known,
    getMany: (keys) => keys.map(known),
    set: (key, value) => { router.state.set(key, value); },
    setMany: (values) => values.forEach(([key, value]) => router.state.set(key, value)),
    delete: (key) => { router.state.delete(key); },
    deleteMany: (keys) => keys.forEach((key) => router.state.delete(key)),
    keys: (prefix) => [...router.state.keys()].filter((key) => key.startsWith(prefix)),
    increment(key, delta) {
      const sum = Number(Buffer.from(known(key) ?? "0")) + delta;
      if (!Number.isInteger(sum)) throw refusal({ tag: "conflict" });
      router.state.set(key, new Uint8Array(Buffer.from(`${sum}`)));
      return sum;
    },
    swap(key, old, value) {
      if (!same(known(key), old)) throw refusal({ tag: "conflict" });
      router.state.set(key, value);
    },
  },
  telemetry: {
    measure: (name, value) => { router.measures.push([name, value]); },
    annotate: (name, value) => { router.annotations.push([name, value]); },
  },
};

// Imports such as `trommel:filter/log@0.2.0` lead here.
globalThis[Symbol.for("trommel.interfaces")] = interfaces;
const hooks = `
export const resolve = (name, context, next) =>
  (/^(trommel|wasi):/.test(name)
    ? { url: "stand-in:" + name.match(/\\/([a-z-]+)@/)[1], shortCircuit: true }
    : next(name, context));
export const load = (url, context, next) => (url.startsWith("stand-in:")
  ? { format: "module", shortCircuit: true,
      source: 'export default globalThis[Symbol.for("trommel.interfaces")]["' + url.slice(9) + '"]' }
  : next(url, context));`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);

const { Event, Fields } = await import("./event.js");
const { bytes, jsonBytes } = await import("./text.js");

/** An event of a payload, anything as JSON or bytes, and of other fields: `event({ a: 1 }, { "header:Region": "eu" })`. */
export function event(payload, fields = {}) {
  const values = { subject: "test", "event-type": "test", id: "1", ...fields };
  const names = ["payload", ...Object.keys(values)];
  const given = payload instanceof Uint8Array ? payload : jsonBytes(payload);
  return new Event(new Fields(names), [given, ...Object.values(values).map((value) => bytes(`${value}`))]);
}
