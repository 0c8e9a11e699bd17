// Filters for trommel in JavaScript: a class whose methods are the hooks, exported by `define`.
//
// A hook that the class does not have is never called. What the constructor throws refuses the route; what `process`
// throws becomes a failure: the one that `malformed`, `retry`, `failed` or `broken` made, a `failed` of what the API or the
// state answered, and of anything else a `malformed` with its stack, for the next try would end the same way. What
// `matches` throws ends the instance: nothing is ever taken for `false`.

// QuickJS has no TextDecoder and no TextEncoder; its own functions are quicker than a loop.

/** UTF-8 to text. Throws a URIError when it is none. */
export function text(bytes) {
  const latin = atob(bytes.toBase64());
  return isAscii(latin) ? latin : decodeURIComponent(escape(latin));
}

/** Text to UTF-8. */
export function bytes(text) {
  return Uint8Array.fromBase64(btoa(unescape(encodeURIComponent(text))));
}

function isAscii(latin) {
  return !/[\x80-\xff]/.test(latin);
}

/** One event, for as long as the hook runs. What is absent is null. */
export class Event {
  #raw;

  constructor(raw) {
    this.#raw = raw;
  }

  get type() { return this.#raw.eventType; }
  get id() { return this.#raw.id; }
  get subject() { return this.#raw.subject; }
  get sourceTime() { return this.#raw.sourceTime; }
  /** When the router saw it, in Unix nanoseconds, of which a number holds the first 16 digits. */
  get observedAt() { return this.#raw.observedAt; }
  /** 1 on the first delivery. */
  get attempt() { return this.#raw.attempt; }
  /** Pairs of name and value. */
  get headers() { return this.#raw.headers ?? []; }
  get payload() { return this.#raw.payload; }

  /** The first value under a name, whatever its case. */
  header(name) {
    return this.headers.find((header) => header[0].toLowerCase() === name.toLowerCase())?.[1];
  }

  text() {
    return convert(() => this.#text());
  }

  json() {
    return convert(() => {
      const text = this.#text();
      if (isTooDeep(text)) throw new SyntaxError(`it is nested more than ${DEEPEST} levels deep`);
      return JSON.parse(text);
    });
  }

  // An event of a batch has it at hand.
  #text() {
    return this.#raw.payloadText ?? text(this.payload);
  }
}

function convert(payload) {
  try {
    return payload();
  } catch (error) {
    throw malformed(`the payload can't be read: ${error.message}`);
  }
}

// QuickJS does not know how much stack it has: JSON of many more levels would end the instance.
const DEEPEST = 1000;

function isTooDeep(json) {
  // Few payloads open as many lists and objects, and to count these is quicker than to go through them.
  if (json.length <= DEEPEST || json.split("[").length + json.split("{").length <= DEEPEST) return false;
  const next = /["[\]{}]/g;
  for (let depth = 0; next.test(json);) {
    const at = next.lastIndex - 1;
    const found = json[at];
    if (found === '"') next.lastIndex = endOfString(json, at);
    else if (found === "]" || found === "}") depth--;
    else if (++depth > DEEPEST) return true;
  }
  return false;
}

function endOfString(json, at) {
  for (let end = json.indexOf('"', at + 1); end >= 0; end = json.indexOf('"', end + 1)) {
    let slashes = 0;
    while (json[end - 1 - slashes] === "\\") slashes++;
    if (slashes % 2 === 0) return end + 1;
  }
  return json.length;
}

class Failure extends Error {
  constructor(tag, val, message) {
    super(message);
    this.failure = { tag, val };
  }
}

/** The event can never be processed: straight to the dead letters. */
export const malformed = (message) => new Failure("malformed", message, message);
/** Passing trouble: try again after this many milliseconds, at most 24 days, for QuickJS takes no larger number. */
export const retry = (ms, message) => new Failure("retry", [Math.min(ms, 0x7fff_ffff), message], message);
/** Try again by the key's policy, then dead letter. */
export const failed = (message) => new Failure("failed", message, message);
/** The filter itself can't go on: it is quarantined, the event is kept. */
export const broken = (message) => new Failure("broken", message, message);

function toFailure(error, answer) {
  if (error instanceof Failure) return error.failure;
  // What an import answered is in the error's payload, and the message says no more than that.
  const isAnswer = error?.payload !== undefined;
  const told = isAnswer ? JSON.stringify(error.payload) : error instanceof Error ? `${error}` : `threw ${shown(error)}`;
  return { tag: isAnswer ? answer : "malformed", val: `${told}\n${error?.stack ?? ""}`.trimEnd() };
}

function shown(value) {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

class Outcome {
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
export const replace = (payload) => new Outcome("replace", toPayload(payload));
/** Send these instead, in this order: `{ payload, subject, headers }`, of which only the payload must be there. */
export const emit = (emissions) => new Outcome("emit", emissions.map(({ payload, subject, headers }) =>
  ({ payload: toPayload(payload), subject: subject ?? null, headers: headers ?? [] })));

function toPayload(payload) {
  if (payload instanceof Uint8Array) return payload;
  return bytes(typeof payload === "string" ? payload : JSON.stringify(payload));
}

const toPairs = (params) => Object.entries(params).sort(([a], [b]) => (a < b ? -1 : 1));
const toFlags = (names) => Object.fromEntries((names ?? []).map((name) => [name, true]));

/**
 * What a component exports: `export const { filter, filterBatch } = define(manifest, Class)`. `matchReads` and
 * `processReads` are lists of "id", "subject", "sourceTime", "headers" and "payload".
 */
export function define({ name, version, description, matchReads, processReads, capabilities }, Route) {
  const has = (hook) => typeof Route.prototype[hook] === "function";
  const make = (key, params) => {
    try {
      return { route: new Route(Object.fromEntries(params), key) };
    } catch (error) {
      // Such params never come here, for normalizeParams refuses them. Should they, nothing goes out unseen.
      return { problem: toFailure(error, "malformed").val };
    }
  };

  class Subscription {
    constructor(key, params) {
      Object.assign(this, make(key, params));
    }

    conditions() {
      const any = this.problem ? [] : this.route.conditions();
      return any.map((all) => all.map(([field, comparison, value]) => ({ field, comparison, value: `${value ?? ""}` })));
    }

    matches(event) {
      return this.problem !== undefined || Boolean(this.route.matches(new Event(event)));
    }

    process(event) {
      if (this.problem !== undefined) throw { tag: "broken", val: this.problem };
      try {
        const outcome = this.route.process(new Event(event));
        if (typeof outcome?.then === "function") throw new TypeError("process can't wait: it must not be async, nor return a promise");
        if (!(outcome instanceof Outcome)) throw new TypeError("process must return drop, keep, replace or emit");
        return outcome;
      } catch (error) {
        throw toFailure(error, "failed");
      }
    }
  }

  class Batch {
    constructor(key, params) {
      Object.assign(this, make(key, params));
    }

    matches({ arena, index: bytes }) {
      // A copy stands where numbers may stand.
      const index = new Uint32Array(bytes.slice().buffer);
      const [layout, count, stride] = index;
      if (layout !== 1) throw new Error(`unknown layout ${layout} of a batch`);
      const bits = new Uint32Array(2 * Math.ceil(count / 64));
      const row = new Row(arena, index);
      const event = new Event(row);
      for (let number = 0; number < count; number++) {
        row.at = 4 + number * stride;
        if (this.problem !== undefined || this.route.matches(event)) bits[number >> 5] |= 1 << (number & 31);
      }
      return new BigUint64Array(bits.buffer);
    }
  }

  return {
    filter: {
      describe: () => ({
        name,
        version,
        description: description ?? "",
        hooks: { normalizeParams: true, conditions: has("conditions"), matches: has("matches"), process: has("process") },
        matchReads: toFlags(matchReads),
        processReads: toFlags(processReads),
        capabilities: capabilities ?? [],
      }),
      normalizeParams(key, params) {
        try {
          const given = Object.fromEntries(params);
          if (Route.normalize) return toPairs(Route.normalize(given, key));
          new Route(given, key);
          return params;
        } catch (error) {
          throw toFailure(error, "malformed");
        }
      },
      Subscription,
    },
    filterBatch: { Batch },
  };
}

const ABSENT = 0xffff_ffff;

/**
 * An event of a batch, as the generated bindings would show it: the one that stands at `at`. Reads only what is asked for,
 * out of one text of all bytes, of which a part is a substring.
 */
class Row {
  #arena;
  #index;
  #latin;
  #isAscii;
  #type = { start: ABSENT, length: 0, text: "" };
  at = 0;

  constructor(arena, index) {
    this.#arena = arena;
    this.#index = index;
    this.#latin = atob(arena.toBase64());
    this.#isAscii = isAscii(this.#latin);
  }

  #text(at) {
    const start = this.#index[at];
    if (start === ABSENT) return null;
    const part = this.#latin.substring(start, start + this.#index[at + 1]);
    return this.#isAscii ? part : decodeURIComponent(escape(part));
  }

  get id() { return this.#text(this.at); }
  get subject() { return this.#text(this.at + 4); }
  get sourceTime() { return this.#text(this.at + 6); }

  /** Neighbours of one type share its place. */
  get eventType() {
    const start = this.#index[this.at + 2];
    const length = this.#index[this.at + 3];
    if (this.#type.start !== start || this.#type.length !== length) {
      this.#type = { start, length, text: this.#text(this.at + 2) };
    }
    return this.#type.text;
  }

  get payloadText() { return this.#text(this.at + 8); }

  get payload() {
    const start = this.#index[this.at + 8];
    return start === ABSENT ? null : this.#arena.subarray(start, start + this.#index[this.at + 9]);
  }

  get observedAt() {
    return this.#index[this.at + 11] * 2 ** 32 + this.#index[this.at + 10];
  }

  get attempt() { return this.#index[this.at + 12]; }

  get headers() {
    const first = this.#index[this.at + 13];
    if (first === ABSENT) return null;
    const headers = [];
    const begin = this.#index[3] + 4 * first;
    const end = begin + 4 * this.#index[this.at + 14];
    for (let at = begin; at < end; at += 4) headers.push([this.#text(at), this.#text(at + 2)]);
    return headers;
  }
}
