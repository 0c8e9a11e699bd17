// What becomes of an event that was processed.
import { cause } from "./failure.js";
import { bytes, jsonBytes, payload } from "./text.js";

export class Outcome {
  constructor(tag, val) {
    this.tag = tag;
    this.val = val;
  }
}

/** Not wanted after all. */
export const drop = new Outcome("drop");
/** Send the event on as it is. Copies nothing back. */
export const keep = new Outcome("keep");
/** Send the event on with this payload: bytes, text, or anything else as JSON. */
export const replace = (value) => new Outcome("replace", payload(value));
/** Send these instead, in this order. */
export const emit = (emissions) => new Outcome("emit", emitted(emissions));

/** Changes of an event, made one after the other. Each call adds one and leaves the list that it was called on. */
export class Edits {
  constructor(list) {
    this.tag = "edit";
    this.val = list;
  }

  /** A member's new value, anything as JSON or bytes that are JSON; of a header or the subject a text. */
  set(field, value) {
    const isText = field !== "" && field.charCodeAt(0) !== 0x2f;
    const val = isText ? bytes(`${value}`) : value instanceof Uint8Array ? value : jsonBytes(value);
    return this._with({ field, change: { tag: "set", val } });
  }

  remove(field) {
    return this._with({ field, change: REMOVE });
  }

  rename(field, name) {
    return this._with({ field, change: { tag: "rename", val: name } });
  }

  _with(edit) {
    return new Edits(this.val.length === 0 ? [edit] : this.val.concat(edit));
  }
}

const REMOVE = { tag: "remove" };

/** Send the event on with changes: `edit.set("/total", 17).remove("header:Authorization")`. */
export const edit = new Edits([]);

/** The fate of one output: a dead letter beside what else comes of the event. */
export const bury = (code, detail) => ({ tag: "bury", val: cause(code, detail) });

const SEND = { tag: "send" };

/** Outputs as the contract has them. */
export function emitted(emissions) {
  return emissions.map(({ payload: value, sink, id, notBefore, subject, headers, fate }) => ({
    payload: payload(value),
    sink: sink ?? null,
    id: id ?? null,
    notBefore: notBefore === undefined || notBefore === null ? null : Number(notBefore),
    subject: subject ?? null,
    headers: pairs(headers),
    fate: fate ?? SEND,
  }));
}

function pairs(headers) {
  const list = Array.isArray(headers) ? headers : Object.entries(headers ?? {});
  return list.map(([name, value]) => [name, value === null ? null : `${value}`]);
}
