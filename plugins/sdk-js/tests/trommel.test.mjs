// `node --test plugins/sdk-js/tests/`: a batch shows the same events as single calls do, and what comes of answers and of what
// is thrown.
import assert from "node:assert/strict";
import { test } from "node:test";
import { event, router } from "../testing.mjs";

const {
  annotate, api, bury, bytes, CallError, defer, define, drop, edit, emit, failed, keep, log, malformed, measure, replace, retry,
  state, text,
} = await import("../trommel.js");
const { Event, Fields } = await import("../event.js");

const FIELDS = ["subject", "header:Region", "/n", "/deep", "payload"];
const RAW = [
  [null, null, null, null, null],
  ["größer \u{1f600}", "", "null", '{"a":[1,"\\u00e4"]}', '{"n":"\u0000ä"}'],
  ["", "ä", "1e3", '""', ""],
].map((event) => event.map((value) => value && bytes(value)));
RAW[1][1] = bytes("");
RAW[2][0] = RAW[2][4] = bytes("");

/** A batch as the router hands it over. */
function columns(events) {
  const [arena, index] = [[], [2, events.length, events[0].length]];
  for (const value of events.flat()) {
    if (value === null) index.push(0xffff_ffff, 0);
    else {
      index.push(arena.length, value.length);
      arena.push(...value);
    }
  }
  return { arena: new Uint8Array(arena), index: new Uint8Array(new Uint32Array(index).buffer) };
}

/** A subscription of a class with these hooks. */
function subscription(hooks, manifest = {}) {
  class Route {}
  Object.assign(Route.prototype, hooks);
  const { filter } = define({ name: "route", version: "1.0.0", matchReads: FIELDS, processReads: FIELDS, ...manifest }, Route);
  const { tag, val } = new filter.Subscription("key", []);
  assert.equal(tag, "ok");
  return val;
}

const shown = (event) => ({
  values: FIELDS.slice(0, 4).map((name) => event.get(name)),
  texts: FIELDS.map((name) => event.text(name)),
  bytes: FIELDS.map((name) => event.bytes(name) && [...event.bytes(name)]),
});

test("a batch shows the events that single calls show", () => {
  const seen = [];
  const route = subscription({ matches: (event) => seen.push(shown(event)) && event.get("/n") === 1000 });
  assert.deepEqual(RAW.map((event) => route.matches(event)), [false, false, true]);
  const alone = seen.splice(0);
  assert.deepEqual(route.matchesBatch(columns(RAW)), new BigUint64Array([0b100n]));
  assert.deepEqual(seen, alone);
});

test("a batch has as many bits as events", () => {
  const route = subscription({ matches: () => true });
  for (const count of [1, 63, 64, 65, 130]) {
    const words = [...route.matchesBatch(columns(Array(count).fill(RAW[1])))];
    assert.equal(words.length, Math.ceil(count / 64));
    assert.equal(words.map((word) => word.toString(2).padStart(64, "0")).reverse().join(""), "1".repeat(count).padStart(64 * words.length, "0"));
  }
});

test("each event of a batch has an answer of its own", () => {
  const answers = subscription({
    process(event) {
      if (typeof event.get("/n") !== "number") throw malformed("no n", { code: "no_n" });
      return edit.set("/n", event.get("/n") + 1);
    },
  }).processBatch(columns(RAW));
  const refused = { tag: "err", val: { kind: { tag: "malformed" }, cause: { code: "no_n", detail: "no n" } } };
  assert.deepEqual(answers.slice(0, 2), [refused, refused]);
  assert.equal(answers[2].tag, "ok");
  assert.deepEqual(answers[2].val.val, [{ field: "/n", change: { tag: "set", val: bytes("1001") } }]);
});

test("each event of a batch has a payload of its own", () => {
  const seen = [];
  const route = subscription({ matches: (event) => seen.push(event.json().n, event.get("/n/0")) }, { matchReads: ["payload"] });
  route.matchesBatch(columns(["[1]", "[2]", '"ä"'].map((n) => [bytes(`{"n":${n}}`)])));
  assert.deepEqual(seen, [[1], 1, [2], 2, "ä", undefined]);
});

test("an unknown layout is an error, never an answer", () => {
  const batch = { arena: bytes(""), index: new Uint8Array(new Uint32Array([3, 1, 0]).buffer) };
  assert.throws(() => subscription({ matches: () => true }).matchesBatch(batch), /layout 3/);
});

test("absent, null and empty are told apart", () => {
  const [none, some] = RAW.map((values) => new Event(new Fields(FIELDS), values));
  assert.deepEqual([none.get("/n"), some.get("/n"), some.header("Region"), none.header("Region")], [undefined, null, "", undefined]);
});

test("a member that is not named is found in the whole payload", () => {
  const one = event({ a: [{ "b/c": null }], "d~": 2 });
  assert.deepEqual(["/a/0", "/d~0", "/a/0/b~1c"].map((name) => one.get(name)), [{ "b/c": null }, 2, null]);
  for (const name of ["/a/1", "/a/00", "/a/length", "/x/y", "/toString"]) assert.equal(one.get(name), undefined);
});

test("what is not read says how to read it", () => {
  assert.throws(() => event({}).get("tenant"), /TypeError: `tenant` is not read, only `payload`, `subject`.*`matchReads` or `processReads`/);
  assert.throws(() => new Event(new Fields([]), []).get("/b"), /`\/b` is not read, only nothing/);
});

test("what is nested too deep is malformed", () => {
  const member = (json) => new Event(new Fields(["/a"]), [bytes(json)]).get("/a");
  const list = (depth) => "[".repeat(depth) + "]".repeat(depth);
  for (const read of [(json) => event(bytes(json)).json(), member]) {
    assert.deepEqual(read(`{"a":${list(999)}}`).a.length, 1);
    for (const deep of [list(1001), `{"a":`.repeat(1001), `["]]]\\"]]",`.repeat(1001), "[".repeat(1_000_000)]) {
      assert.throws(() => read(deep), /can't be read: it is nested more than 1000 levels deep/);
    }
    // Many lists beside each other, and brackets in texts, are not deep.
    for (const wide of [`[${"[],".repeat(5000)}[]]`, JSON.stringify(["[{".repeat(5000), '\\"[\\'.repeat(5000)])]) {
      assert.deepEqual(read(wide), JSON.parse(wide));
    }
  }
  for (const none of ["", "[1", "NaN"]) assert.throws(() => event(bytes(none)).json(), /the payload can't be read/);
});

test("edits are lists that grow by one", () => {
  const first = edit.set("/a", { ä: 1 });
  const changes = first.set("header:Region", "eu").remove("header:Secret").rename("/b", "c").set("/raw", bytes("1.10")).set("/big", 2n ** 70n);
  assert.deepEqual(subscription({ process: () => changes }).process(RAW[1]).val, [
    { field: "/a", change: { tag: "set", val: bytes('{"ä":1}') } },
    { field: "header:Region", change: { tag: "set", val: bytes("eu") } },
    { field: "header:Secret", change: { tag: "remove" } },
    { field: "/b", change: { tag: "rename", val: "c" } },
    { field: "/raw", change: { tag: "set", val: bytes("1.10") } },
    { field: "/big", change: { tag: "set", val: bytes(`${2n ** 70n}`) } },
  ]);
  assert.deepEqual([first.val.length, edit.val.length], [1, 0]);
  assert.throws(() => edit.set("/a", undefined), /undefined can't be written as JSON/);
});

test("an emission has all that an output can have", () => {
  const [made, plain] = emit([
    {
      payload: { a: 1 }, sink: "a", id: "i", notBefore: new Date(5), subject: "s", headers: { Region: "eu", Secret: null },
      fate: bury("no_rate", "why"),
    },
    { payload: "x" },
  ]).val;
  assert.deepEqual(made, {
    payload: bytes('{"a":1}'), sink: "a", id: "i", notBefore: 5, subject: "s", headers: [["Region", "eu"], ["Secret", null]],
    fate: { tag: "bury", val: { code: "no_rate", detail: "why" } },
  });
  const nothing = { sink: null, id: null, notBefore: null, subject: null, headers: [] };
  assert.deepEqual(plain, { payload: bytes("x"), ...nothing, fate: { tag: "send" } });
});

test("what is thrown is a failure", () => {
  const thrown = (error) => () => { throw error; };
  const outcomes = [
    [() => drop, undefined],
    // What would be the same with the next try is not tried again; an API may be back by then.
    [thrown(retry(2 ** 40, "later", { code: "busy" })), { tag: "retry", val: 2 ** 31 - 1 }, /^later$/],
    [thrown(defer(2.5)), { tag: "defer", val: 3 }, /^$/],
    [thrown(failed("no")), { tag: "failed" }, /^no$/],
    [() => undefined, { tag: "malformed" }, /process must return/],
    [thrown(new Error("oops")), { tag: "malformed" }, /Error: oops\n.*trommel\.test/s],
    [async () => keep, { tag: "malformed" }, /process can't wait/],
    [thrown({ a: 1 }), { tag: "malformed" }, /^threw {"a":1}$/],
    [thrown(new CallError("api", { tag: "timeout" })), { tag: "failed" }, /^CallError: api: timeout\n/],
    [() => replace(undefined), { tag: "malformed" }, /undefined can't be written as JSON/],
  ];
  const route = subscription({ process: () => outcomes[0][0]() });
  for (; outcomes.length > 0; outcomes.shift()) {
    const [, kind, detail] = outcomes[0];
    if (kind === undefined) assert.equal(route.process(RAW[1]), drop);
    else {
      assert.throws(() => route.process(RAW[1]), (said) => {
        assert.deepEqual(said.kind, kind);
        assert.match(said.cause.detail, detail);
        return true;
      });
    }
  }
});

test("matches that waits is an error, never an answer", () => {
  const route = subscription({ matches: async () => false });
  assert.throws(() => route.matches(RAW[1]), /matches can't wait/);
  assert.throws(() => route.matchesBatch(columns(RAW)), /matches can't wait/);
});

test("a constructor that throws refuses the route", () => {
  class Picky {
    constructor() { throw malformed("no params please"); }
  }
  const { filter } = define({ name: "picky", version: "1.0.0" }, Picky);
  assert.deepEqual(filter.normalizeParams("key", [["a", "b"]]), [["a", "b"]]);
  const { tag, val } = new filter.Subscription("key", []);
  assert.deepEqual([tag, val.cause.detail], ["err", "no params please"]);
});

test("the manifest and the interest say what there is", () => {
  const hooks = {
    interest: () => ({ condition: "/n >= 5", matchReads: ["/n"] }), matches: () => true, process: () => keep,
    tick: (now) => [{ payload: `${now}` }],
  };
  const said = { interval: "10s", grants: ["state", { name: "api", reason: "r" }], sinks: ["a"], processReads: undefined };
  const route = subscription(hooks, said);
  assert.deepEqual(route.interest(), { condition: "/n >= 5", matchReads: ["/n"], processReads: ["payload"], sinks: ["a"] });
  assert.deepEqual(route.tick(17).map(({ payload }) => text(payload)), ["17"]);
  class Route {}
  Object.assign(Route.prototype, hooks);
  const manifest = JSON.parse(define({ name: "route", version: "1.0.0", ...said }, Route).filter.describe());
  assert.deepEqual(manifest.hooks, ["matches", "matches-batch", "process", "process-batch", "tick"]);
  assert.deepEqual([manifest.interval, manifest.grants], ["10s", [{ name: "state" }, { name: "api", reason: "r" }]]);
});

test("the router answers what a test says", () => {
  state.set("a", { n: 1 });
  assert.deepEqual(state.getMany(["b", "a"]), [null, bytes('{"n":1}')]);
  assert.deepEqual([state.increment("c", 2), state.increment("c"), state.swap("a", null, "x")], [2, 3, false]);
  assert.deepEqual([state.swap("a", { n: 1 }, "x"), text(state.get("a")), state.keys("c")], [true, "x", ["c"]]);
  state.setMany([["m/1", "x"], ["m/2", { n: 2 }], ["m/1", "y"]]);
  state.setMany({ "m/3": bytes("z") });
  assert.deepEqual(state.getMany(["m/1", "m/2", "m/3"]).map(text), ["y", '{"n":2}', "z"]);
  state.deleteMany(["m/1", "m/3", "m/9"]);
  assert.deepEqual(state.keys("m/"), ["m/2"]);
  assert.throws(() => state.increment("a"), /CallError: state: conflict/);
  assert.throws(() => api.call("GET", "/x"), /CallError: api: denied: `GET \/x`: the test answers no calls/);
  router.api = ({ body, headers }) => ({ status: 404, headers: [...headers, ["X", "y"]], body });
  const answer = api.call("POST", "/x?y=z", { api: "crm", headers: { a: "b" }, body: { n: 1 } });
  assert.deepEqual([answer.status, answer.ok, answer.json(), answer.header("x")], [404, false, { n: 1 }, "y"]);
  log.info("seen", { count: 1 });
  measure("orders", 2);
  annotate("tier", "gold");
  assert.deepEqual(router.lines.at(-1), { level: "info", message: "seen", fields: { count: "1" } });
  assert.deepEqual([router.measures, router.annotations], [[["orders", 2]], [["tier", "gold"]]]);
});

test("text goes both ways", () => {
  for (const value of ["", "plain", "größer \u{1f600} e\u0301 \0"]) assert.equal(text(bytes(value)), value);
  assert.throws(() => text(new Uint8Array([0xff])), URIError);
});
