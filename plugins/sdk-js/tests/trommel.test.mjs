// `node --test plugins/sdk-js/tests/`: the columns of a batch show the same events as single calls do.
import assert from "node:assert/strict";
import { test } from "node:test";

// QuickJS has these; Node.js has them from version 25 on.
Uint8Array.prototype.toBase64 ??= function () { return Buffer.from(this).toString("base64"); };
Uint8Array.fromBase64 ??= (text) => new Uint8Array(Buffer.from(text, "base64"));

const { bytes, define, drop, Event, keep, malformed, retry, text } = await import("../trommel.js");

const RAW = [
  { eventType: "", id: null, subject: null, sourceTime: null, observedAt: 0, attempt: 1, headers: null, payload: null },
  {
    eventType: "größer \u{1f600}", id: "", subject: "a.b", sourceTime: "2026-01-02T03:04:05Z",
    observedAt: 1767225600123456768, attempt: 7, headers: [["a", ""], ["ä", "é"]], payload: bytes('{"n":"\u0000"}'),
  },
  { eventType: "x", id: "1", subject: "", sourceTime: null, observedAt: 4294967295, attempt: 1, headers: [], payload: bytes("") },
];

const numbers = (all) => new Uint8Array(new Uint32Array(all).buffer);

/** A batch as the router hands it over. */
function columns(events) {
  const [arena, rows, table] = [[], [], []];
  const part = (value) => {
    if (value === null) return [0xffff_ffff, 0];
    const raw = typeof value === "string" ? bytes(value) : value;
    arena.push(...raw);
    return [arena.length - raw.length, raw.length];
  };
  for (const event of events) {
    const first = table.length / 4;
    for (const [name, value] of event.headers ?? []) table.push(...part(name), ...part(value));
    const texts = [event.id, event.eventType, event.subject, event.sourceTime, event.payload].flatMap(part);
    const observed = BigInt(event.observedAt);
    const halves = [Number(observed & 0xffff_ffffn), Number(observed >> 32n)];
    const headers = event.headers === null ? [0xffff_ffff, 0] : [first, event.headers.length];
    rows.push(...texts, ...halves, event.attempt, ...headers);
  }
  return { arena: new Uint8Array(arena), index: numbers([1, events.length, 15, 4 + rows.length, ...rows, ...table]) };
}

const seen = [];

class Everything {
  matches(event) {
    const { type, id, subject, sourceTime, observedAt, attempt, headers, payload } = event;
    seen.push({ type, id, subject, sourceTime, observedAt, attempt, headers, payload: payload && [...payload] });
    return attempt === 7;
  }
}

const { filter, filterBatch } = define({ name: "everything", version: "1.0.0", matchReads: ["id"] }, Everything);

test("a batch shows the events that single calls show", () => {
  const single = RAW.map((event) => new filter.Subscription("key", []).matches(event));
  const alone = seen.splice(0);
  const bits = new filterBatch.Batch("key", []).matches(columns(RAW));
  assert.deepEqual(seen.splice(0), alone);
  assert.deepEqual(single, [false, true, false]);
  assert.deepEqual(bits, new BigUint64Array([0b010n]));
});

test("a batch has as many bits as events", () => {
  const event = { ...RAW[1], headers: [] };
  const batch = new filterBatch.Batch("key", []);
  for (const count of [1, 63, 64, 65, 130]) {
    const words = [...batch.matches(columns(Array(count).fill(event)))];
    assert.equal(words.length, Math.ceil(count / 64));
    assert.equal(words.map((word) => word.toString(2).padStart(64, "0")).reverse().join(""), "1".repeat(count).padStart(64 * words.length, "0"));
  }
});

test("an unknown layout is an error, never an answer", () => {
  assert.throws(() => new filterBatch.Batch("key", []).matches({ arena: bytes(""), index: numbers([2, 1, 15, 19]) }), /layout 2/);
});

test("the manifest names the hooks that there are", () => {
  const { hooks, matchReads } = filter.describe();
  assert.deepEqual(hooks, { normalizeParams: true, conditions: false, matches: true, process: false });
  assert.deepEqual(matchReads, { id: true });
});

test("what is nested too deep is malformed", () => {
  const json = (text) => new Event({ payload: bytes(text) }).json();
  const list = (depth) => "[".repeat(depth) + "]".repeat(depth);
  assert.deepEqual(json(`{"a":${list(999)}}`).a.length, 1);
  for (const deep of [list(1001), `{"a":`.repeat(1001), `["]]]\\"]]",`.repeat(1001), "[".repeat(1_000_000)]) {
    assert.throws(() => json(deep), /the payload can't be read: it is nested more than 1000 levels deep/);
  }
  // Many lists beside each other, and brackets in texts, are not deep.
  for (const wide of [`[${"[],".repeat(5000)}[]]`, JSON.stringify(["[{".repeat(5000), '\\"[\\'.repeat(5000)])]) {
    assert.deepEqual(json(wide), JSON.parse(wide));
  }
});

test("what is thrown is a failure", () => {
  const thrown = (error) => () => { throw error; };
  const outcomes = [
    () => drop, thrown(retry(2 ** 40, "later")), () => undefined, thrown(new Error("oops")), async () => keep, thrown({ a: 1 }),
    thrown(Object.assign(new Error(), { payload: { tag: "timeout" } })),
  ];
  class Route {
    process() { return outcomes.shift()(); }
  }
  const { filter } = define({ name: "route", version: "1.0.0" }, Route);
  const subscription = new filter.Subscription("key", []);
  assert.equal(subscription.process(RAW[1]), drop);
  assert.throws(() => subscription.process(RAW[1]), (thrown) => {
    assert.deepEqual(thrown, { tag: "retry", val: [2 ** 31 - 1, "later"] });
    return true;
  });
  // What would be the same with the next try is not tried again; an API may be back by then.
  for (const [expected, as] of [
    [/process must return/, "malformed"], [/Error: oops\n.*trommel\.test/s, "malformed"], [/process can't wait/, "malformed"],
    [/^threw {"a":1}$/, "malformed"], [/^{"tag":"timeout"}/, "failed"],
  ]) {
    assert.throws(() => subscription.process(RAW[1]), ({ tag, val }) => {
      assert.match(val, expected);
      return tag === as;
    });
  }
});

test("params that are refused stop the filter, should they ever come to it", () => {
  class Picky {
    constructor() { throw malformed("no params please"); }
    matches() { return false; }
    process() { return keep; }
  }
  const { filter } = define({ name: "picky", version: "1.0.0" }, Picky);
  assert.throws(() => filter.normalizeParams("key", []), (thrown) => thrown.val === "no params please");
  const subscription = new filter.Subscription("key", []);
  assert.equal(subscription.matches(RAW[0]), true);
  assert.throws(() => subscription.process(RAW[0]), ({ tag, val }) => tag === "broken" && val === "no params please");
});

test("text goes both ways", () => {
  for (const value of ["", "plain", "größer \u{1f600} e\u0301 \0"]) assert.equal(text(bytes(value)), value);
  assert.throws(() => text(new Uint8Array([0xff])), URIError);
});
