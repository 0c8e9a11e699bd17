// The filter of ../README.md in JavaScript.
import api from "trommel:filter/api@0.1.1";
import log from "trommel:filter/log@0.1.1";
import state from "trommel:filter/state@0.1.1";
import { broken, bytes, define, drop, emit, failed, keep, malformed, replace, retry, text } from "./trommel.js";

const MODES = ["keep", "drop", "text", "emit", "malformed", "retry", "failed", "broken", "log", "state", "api", "echo",
  "fields", "trap"];

class Conformance {
  constructor(params) {
    this.mode = "keep";
    for (const [name, value] of Object.entries(params)) {
      if (name === "mode") {
        if (!MODES.includes(value)) throw malformed(`\`mode\` is not known: \`${value}\``);
        this.mode = value;
      } else if (name === "threshold") {
        this.threshold = integer(value);
      } else {
        throw malformed(`unknown param \`${name}\``);
      }
    }
  }

  static normalize(params) {
    const { mode, threshold } = new Conformance(params);
    return threshold === undefined ? { mode } : { mode, threshold: `${threshold}` };
  }

  conditions() {
    if (this.threshold === undefined) return [];
    return [[["/amount", "greater-or-equal", this.threshold]], [["header:force", "exists"]]];
  }

  matches(event) {
    if (event.type === "skip") return false;
    if (event.type === "projection") {
      return [event.id, event.subject, event.sourceTime, event.payload].every((part) => part === null);
    }
    return !event.headers.some(([name, value]) => name === "skip" && value === "yes");
  }

  process(event) {
    if (["echo", "fields", "trap"].includes(this.mode)) return execute(this.mode, {}, event);
    const payload = members(event);
    return execute(string(payload.do) ?? this.mode, payload, event);
  }
}

function integer(value) {
  const digits = value.replace(/^ +| +$/g, "");
  const number = /^[+-]?[0-9]+$/.test(digits) ? BigInt(digits.replace("+", "")) : 2n ** 63n;
  if (BigInt.asIntN(64, number) !== number) throw malformed(`\`threshold\` is no integer: \`${value}\``);
  return number;
}

function members(event) {
  let value;
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
const string = (member) => (typeof member === "string" ? member : undefined);

function execute(action, payload, event) {
  const said = string(payload.text) ?? "";
  const n = Number.isInteger(payload.n) ? payload.n : 0;
  switch (action) {
    case "keep": return keep;
    case "drop": return drop;
    case "text": return replace(said);
    case "emit": return emit(Array.from({ length: n }, (_, part) => ({
      payload: said,
      subject: part % 2 ? `part.${part}` : undefined,
      headers: part ? [["part", `${part}`], ["text", said]] : [],
    })));
    case "malformed": throw malformed(said);
    case "retry": throw retry(n, said);
    case "failed": throw failed(said);
    case "broken": throw broken(said);
    case "log":
      log.write("info", said);
      return keep;
    case "state": return replace(remember(said, n));
    case "api": return replace(call(string(payload.path) ?? "", said));
    case "echo": return replace(event.payload);
    case "fields": return replace(fields(event));
    // Nothing that JavaScript does ends an instance, but an array that is none does.
    case "trap": return emit({ map: () => "no list" });
  }
  throw failed(`no such action: \`${action}\``);
}

// Counts, and remembers the text until the next time.
function remember(said, n) {
  try {
    const previous = state.get("last");
    const sum = state.add("sum", n, 60_000);
    if (said === "") state.delete("last");
    else state.set("last", bytes(said), null);
    return `${sum} ${previous === null ? "none" : text(previous)}`;
  } catch (error) {
    throw failed(`state: ${error.payload.tag}`);
  }
}

function call(path, said) {
  try {
    return api.call("POST", path, said === "" ? null : said);
  } catch ({ payload: { tag, val } }) {
    if (tag === "status") throw failed(`api: status ${val[0]}: ${val[1]}`);
    throw failed(val === undefined ? `api: ${tag}` : `api: ${tag}: ${val}`);
  }
}

function fields(event) {
  const lines = [
    `type=${event.type}`,
    `id=${event.id ?? ""}`,
    `subject=${event.subject ?? ""}`,
    `time=${event.sourceTime ?? ""}`,
    `observed=${Math.floor(event.observedAt / 1e6)}`,
    `attempt=${event.attempt}`,
    ...event.headers.map(([name, value]) => `header ${name}=${value}`),
    `payload=${event.payload.length} bytes`,
  ];
  return `${lines.join("\n")}\n`;
}

export const { filter, filterBatch } = define({
  name: "conformance",
  version: "1.0.0",
  description: "The same filter in every language",
  matchReads: ["headers"],
  processReads: ["id", "subject", "sourceTime", "headers", "payload"],
  capabilities: ["api", "state"],
}, Conformance);
