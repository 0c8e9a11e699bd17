// The filter of ../README.md in TypeScript.
import api, { type ApiError } from "trommel:filter/api@0.1.1";
import log from "trommel:filter/log@0.1.1";
import state, { type StateError } from "trommel:filter/state@0.1.1";
import {
  broken, bytes, define, drop, emit, failed, keep, malformed, replace, retry, text,
  type Condition, type Event, type Outcome, type Params, type Route,
} from "./trommel.js";

const MODES = ["keep", "drop", "text", "emit", "malformed", "retry", "failed", "broken", "log", "state", "api", "echo",
  "fields", "trap"];

class Conformance implements Route {
  readonly mode: string = "keep";
  readonly threshold: bigint | undefined;

  constructor(params: Params) {
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

  static normalize(params: Params): Params {
    const { mode, threshold } = new Conformance(params);
    return threshold === undefined ? { mode } : { mode, threshold: `${threshold}` };
  }

  conditions(): Condition[][] {
    if (this.threshold === undefined) return [];
    return [[["/amount", "greater-or-equal", `${this.threshold}`]], [["header:force", "exists"]]];
  }

  matches(event: Event): boolean {
    if (event.type === "skip") return false;
    if (event.type === "projection") {
      return [event.id, event.subject, event.sourceTime, event.payload].every((part) => part === null);
    }
    return !event.headers.some(([name, value]) => name === "skip" && value === "yes");
  }

  process(event: Event): Outcome {
    if (["echo", "fields", "trap"].includes(this.mode)) return execute(this.mode, {}, event);
    const payload = members(event);
    return execute(string(payload.do) ?? this.mode, payload, event);
  }
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
  let value: unknown = null;
  try {
    value = event.json();
  } catch {
    // Told below.
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw malformed("the payload is no JSON object");
  }
  return value;
}

// A member of another type counts as absent.
const string = (member: unknown) => (typeof member === "string" ? member : undefined);

function execute(action: string, payload: Members, event: Event): Outcome {
  const said = string(payload.text) ?? "";
  const n = typeof payload.n === "number" && Number.isInteger(payload.n) ? payload.n : 0;
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
    case "trap": return emit({ map: () => "no list" } as never);
  }
  throw failed(`no such action: \`${action}\``);
}

// Counts, and remembers the text until the next time.
function remember(said: string, n: number): string {
  try {
    const previous = state.get("last");
    const sum = state.add("sum", n, 60_000);
    if (said === "") state.delete("last");
    else state.set("last", bytes(said), null);
    return `${sum} ${previous === null ? "none" : text(previous)}`;
  } catch (error) {
    throw failed(`state: ${(error as { payload: StateError }).payload.tag}`);
  }
}

function call(path: string, said: string): string {
  try {
    return api.call("POST", path, said === "" ? null : said);
  } catch (thrown) {
    const error = (thrown as { payload: ApiError }).payload;
    if (error.tag === "status") throw failed(`api: status ${error.val[0]}: ${error.val[1]}`);
    throw failed("val" in error ? `api: ${error.tag}: ${error.val}` : `api: ${error.tag}`);
  }
}

function fields(event: Event): string {
  const lines = [
    `type=${event.type}`,
    `id=${event.id ?? ""}`,
    `subject=${event.subject ?? ""}`,
    `time=${event.sourceTime ?? ""}`,
    `observed=${Math.floor(event.observedAt / 1e6)}`,
    `attempt=${event.attempt}`,
    ...event.headers.map(([name, value]) => `header ${name}=${value}`),
    `payload=${event.payload?.length ?? 0} bytes`,
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
