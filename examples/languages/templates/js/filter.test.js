// `npm test`: the filter's class under Node.js, without a router.
import assert from "node:assert/strict";
import { test } from "node:test";
import { MyFilter } from "./filter.js";
import { event, router } from "./sdk/testing.mjs";
import { edit } from "./sdk/trommel.js";

test("large orders pass, and are marked", () => {
  const route = new MyFilter({ min: "200" });
  assert.equal(route.matches(event({ amount: 250 })), true);
  assert.equal(route.matches(event({ amount: 120 })), false);
  assert.deepEqual(route.process(event({ amount: 250 })), edit.set("/large", true));
  assert.equal(router.lines.at(-1).message, "a large order");
});

test("params that mean nothing are refused", () => {
  assert.throws(() => new MyFilter({ min: "many" }), /`min` is no number/);
});
