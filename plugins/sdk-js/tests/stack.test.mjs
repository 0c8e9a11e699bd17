// A stack names the author's own file and line, where the bundle has been told of them.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import "../testing.mjs";

const { define, keep } = await import("../trommel.js");
const { stack } = await import("../stack.js");

const BUNDLE = `// sdk/trommel.js
export const inKit = (call) => call();
// filter.ts
export function thrown() {
  return new TypeError("said");
}
`;
// Line 2 of the bundle is line 10 of the kit, line 4 is line 12 of the filter, line 5 its line 28, far enough for two digits.
const MAP = {
  version: 3, sources: ["../filter.ts", "../sdk/trommel.js"], names: [],
  mappings: ";ACSA,SAAS;;ADEA,OAAO;AAgBA,EAAE",
};

const folder = mkdtempSync(join(tmpdir(), "trommel-stack-"));
after(() => rmSync(folder, { recursive: true }));

async function bundled() {
  mkdirSync(join(folder, "build-js"));
  const bundle = join(folder, "build-js", "filter.js");
  writeFileSync(bundle, BUNDLE);
  writeFileSync(`${bundle}.map`, JSON.stringify(MAP));
  execFileSync(process.execPath, [new URL("../lines.mjs", import.meta.url).pathname, "build-js/filter.js"], { cwd: folder });
  return import(pathToFileURL(bundle));
}

test("a stack names the author's file and line", async () => {
  const before = new Error("without a table");
  assert.equal(stack(before), before.stack.trimEnd());

  const { inKit, thrown } = await bundled();
  const told = stack(inKit(thrown));
  assert.match(told, /thrown \(\S*filter\.ts:28\)/);
  assert.match(told, /inKit \(\S*sdk\/trommel\.js:10\)/);
  assert.match(told, /stack\.test\.mjs:\d+:\d+/, "other files stay as they are");

  class Route {
    matches() { throw thrown(); }
    process(event) { if (event.get("/bad")) throw thrown(); return keep; }
  }
  const { filter } = define({ name: "route", version: "1.0.0", matchReads: [], processReads: ["/bad"] }, Route);
  const route = new filter.Subscription("key", []).val;
  assert.throws(() => route.matches([]), (error) => /filter\.ts:28/.test(error.stack));
  const bad = new TextEncoder().encode("true");
  assert.throws(() => route.process([bad]), (failure) => /TypeError: said\n[^]*filter\.ts:28/.test(failure.cause.detail));
});
