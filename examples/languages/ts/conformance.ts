// The filter of ../README.md in TypeScript.
import {
  annotate, api, broken, bury, CallError, defer, define, drop, edit, emit, failed, keep, log, malformed, measure, replace,
  retry, state, text,
  type Edits, type Event, type Field, type Interest, type Outcome, type Params, type Route,
} from "./sdk/trommel.js";

const MODES = ["keep", "drop", "text", "emit", "malformed", "retry", "failed", "broken", "log", "state", "api", "echo",
  "fields", "trap", "edit", "outputs", "coded", "defer", "swap", "many", "measure"];

class Conformance implements Route {
  readonly mode: string = "keep";
  readonly threshold: bigint | undefined;
  readonly reads: Field[] = [];

  constructor(params: Params) {
    for (const [name, value] of Object.entries(params)) {
      if (name === "mode") {
        if (!MODES.includes(value)) throw malformed(`\`mode\` is not known: \`${value}\``);
        this.mode = value;
      } else if (name === "threshold") {
        this.threshold = integer(value);
      } else if (name === "reads") {
        this.reads = value.split(" ").filter((name) => name !== "") as Field[];
      } else {
        throw malformed(`unknown param \`${name}\``);
      }
    }
  }

  static normalize(params: Params) {
    const { mode, threshold } = new Conformance(params);
    return { ...params, mode, ...(threshold === undefined ? {} : { threshold }) };
  }

  interest(): Interest {
    return {
      condition: this.threshold === undefined ? "" : `/amount >= ${this.threshold} || header:force`,
      processReads: ["payload", ...this.reads],
    };
  }

  matches(event: Event): boolean {
    return event.type !== "skip" && event.header("skip") !== "yes";
  }

  process(event: Event): Outcome {
    if (["echo", "fields", "trap"].includes(this.mode)) return this.execute(this.mode, {}, event);
    const payload = members(event);
    return this.execute(string(payload.do) ?? this.mode, payload, event);
  }

  private execute(action: string, payload: Members, event: Event): Outcome {
    const said = string(payload.text) ?? "";
    const path = string(payload.path) ?? "";
    const n = typeof payload.n === "number" && Number.isInteger(payload.n) ? payload.n : 0;
    switch (action) {
      case "keep": return keep;
      case "drop": return drop;
      case "text": return replace(said);
      case "emit": return emit(Array.from({ length: n }, (_, part) => ({
        payload: said,
        subject: part % 2 ? `part.${part}` : undefined,
        headers: part ? { part, text: said } : {},
      })));
      case "malformed": throw malformed(said);
      case "retry": throw retry(n, said);
      case "failed": throw failed(said);
      case "broken": throw broken(said);
      case "log":
        log.info(said);
        return keep;
      case "state": return replace(refused(() => remember(said, n)));
      case "api": return replace(call(path, said));
      case "echo": return replace(event.payload);
      case "fields": return replace(this.reads.map((name) => `${line(name, event.text(name))}\n`).join(""));
      case "edit": return edits(said, n, path);
      case "outputs": return emit([
        { payload: said, sink: "a", id: path || undefined },
        { payload: said, headers: { gone: null, text: said } },
        { payload: said, fate: bury("no_use", said) },
      ]);
      case "coded": throw malformed(said, { code: "own_code" });
      case "defer": throw defer(n, said);
      case "many": return replace(refused(() => many(path, said)));
      case "swap": return replace(refused(() => swap(path, said)));
      case "measure":
        measure("calls", n);
        annotate("text", said);
        return keep;
      // Nothing that JavaScript does ends an instance, but an array that is none does.
      case "trap": return emit({ map: () => "no list" } as never);
    }
    throw failed(`no such action: \`${action}\``);
  }
}

const line = (name: string, value: string | undefined) => (value === undefined ? name : `${name}=${value}`);

function edits(said: string, n: number, path: string): Edits {
  const changes = edit.set("/text", said).set("/n", n).remove("/gone").rename("/old", "new");
  return path === "" ? changes : changes.set("subject", path).set("header:text", said).remove("header:gone");
}

/** What the payload may hold. Nothing says that it is of the right type. */
type Members = { do?: unknown; text?: unknown; path?: unknown; n?: unknown };

function integer(value: string): bigint {
  const digits = value.replace(/^ +| +$/g, "");
  const number = /^[+-]?[0-9]+$/.test(digits) ? BigInt(digits.replace("+", "")) : 2n ** 63n;
  if (BigInt.asIntN(64, number) !== number) throw malformed(`\`threshold\` is no integer: \`${value}\``);
  return number;
}

function members(event: Event): Members {
  let value: unknown;
  try {
    value = event.json();
  } catch {
    value = null;
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw malformed("the payload is no JSON object");
  }
  return value;
}

// A member of another type counts as absent.
const string = (member: unknown) => (typeof member === "string" ? member : undefined);

function refused<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw error instanceof CallError ? failed(error.message) : error;
  }
}

// Counts, and remembers the text until the next time.
function remember(said: string, n: number): string {
  const previous = state.get("last");
  const sum = state.increment("sum", n, 60_000);
  if (said === "") state.delete("last");
  else state.set("last", said);
  return `${sum} ${orNone(previous)}`;
}

const orNone = (value: Uint8Array | null) => (value === null ? "none" : text(value));

function swap(old: string, said: string): string {
  if (!state.swap("swapped", old === "" ? null : old, said)) throw failed("state: conflict");
  const values = state.getMany(["swapped", "other"]).map(orNone);
  return `${state.keys("swap").join(",")} ${values.join(" ")}`;
}

function many(path: string, said: string): string {
  state.setMany([["many/1", said], ["many/2", path]]);
  state.deleteMany(["many/2", "many/3"]);
  const values = state.getMany(["many/1", "many/2"]).map(orNone);
  return `${state.keys("many").join(",")} ${values.join(" ")}`;
}

function call(path: string, said: string): Uint8Array {
  const answer = refused(() => api.call("POST", path, { headers: { "x-text": "1" }, body: said === "" ? null : said }));
  if (!answer.ok) throw failed(`api: status ${answer.status}: ${answer.text()}`);
  return answer.body;
}

export const { filter } = define({
  name: "conformance",
  version: "1.0.0",
  description: "The same filter in every language",
  matchReads: ["event-type", "header:skip"],
  sinks: ["a"],
  grants: [
    { name: "api", reason: "posts what the payload says" },
    { name: "state", reason: "counts, and remembers the last text" },
  ],
  metrics: [{ name: "calls", kind: "counter", description: "what the payload says" }],
}, Conformance);
