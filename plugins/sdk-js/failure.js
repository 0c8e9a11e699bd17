// What becomes of an event that can't be processed.
import { stack } from "./stack.js";

class Failure extends Error {
  constructor(kind, detail, options) {
    super(detail);
    this.failure = { kind, cause: cause(options?.code, detail) };
  }
}

export const cause = (code, detail) => ({ code: code ?? null, detail: `${detail}` });

// QuickJS takes no larger number: a wait is at most 24 days.
const wait = (tag, ms) => ({ tag, val: Math.max(0, Math.min(Math.ceil(ms), 0x7fff_ffff)) });

/** The event can never be processed: straight to the dead letters. `{ code }` is a word to find it by. */
export const malformed = (detail, options) => new Failure({ tag: "malformed" }, detail, options);
/** Passing trouble: try again after this many milliseconds. */
export const retry = (ms, detail, options) => new Failure(wait("retry", ms), detail, options);
/** Try again by the key's policy, then dead letter. */
export const failed = (detail, options) => new Failure({ tag: "failed" }, detail, options);
/** No failure: the event's time has not come. Ask again after this many milliseconds. */
export const defer = (ms, detail = "", options) => new Failure(wait("defer", ms), detail, options);
/** The filter itself can't go on: it is quarantined, the event is kept. */
export const broken = (detail, options) => new Failure({ tag: "broken" }, detail, options);

/** What the router refused to do: a call of the API, or of the state. */
export class CallError extends Error {
  constructor(call, { tag, val }) {
    super(val === undefined ? `${call}: ${tag}` : `${call}: ${tag}: ${val}`);
    this.name = "CallError";
    this.tag = tag;
  }
}

/** What was thrown, as the contract has it. */
export function failure(thrown) {
  if (thrown instanceof Failure) return thrown.failure;
  const told = thrown instanceof Error ? `${thrown}` : `threw ${shown(thrown)}`;
  // A call may go through the next time; anything else would end the same way.
  const kind = { tag: thrown instanceof CallError ? "failed" : "malformed" };
  return { kind, cause: cause(null, `${told}\n${stack(thrown)}`.trimEnd()) };
}

function shown(value) {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}
