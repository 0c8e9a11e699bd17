// What a filter may call.
import routerApi from "trommel:filter/api@0.2.0";
import routerLog from "trommel:filter/log@0.2.0";
import routerState from "trommel:filter/state@0.2.0";
import telemetry from "trommel:filter/telemetry@0.2.0";
import { CallError } from "./failure.js";
import { parsed, payload, text } from "./text.js";

const level = (name) => (message, fields = {}) =>
  routerLog.write(name, `${message}`, Object.entries(fields).map(([name, value]) => [name, `${value}`]));

/** Lines in the router's log. */
export const log = {
  trace: level("trace"),
  debug: level("debug"),
  info: level("info"),
  warn: level("warn"),
  error: level("error"),
  /** Whether lines of this level are written anywhere. */
  enabled: (level) => routerLog.enabled(level),
};

/** Adds to a counter, sets a gauge, or is one value of a histogram: one of the manifest's `metrics`. */
export const measure = (metric, value = 1) => telemetry.measure(metric, value);
/** Adds an attribute to the span of the call, if the event is traced. */
export const annotate = (name, value) => telemetry.annotate(name, `${value}`);

/** The answer of an API, whatever its status. */
class Response {
  constructor({ status, headers, body }) {
    this.status = status;
    this.headers = headers;
    this.body = body;
  }

  get ok() { return this.status >= 200 && this.status < 300; }

  header(name) {
    return this.headers.find((header) => header[0].toLowerCase() === name.toLowerCase())?.[1];
  }

  text() { return text(this.body); }
  json() { return parsed(this.text()); }
}

/** The router's APIs. */
export const api = {
  /** `path` is with its query. What was refused is thrown, a CallError; an answer of any status is one. */
  call(method, path, { api = null, headers = {}, body } = {}) {
    const request = {
      api, method, path, headers: Object.entries(headers), body: body === undefined || body === null ? null : payload(body),
    };
    return asked("api", () => new Response(routerApi.call(request)));
  },
};

/** The small store of the filter and key. A value is bytes; text and anything else, as JSON, are made bytes. */
export const state = {
  /** Null when it is not there. */
  get: (key) => asked("state", () => routerState.get(key)),
  /** In the order of the keys. */
  getMany: (keys) => asked("state", () => routerState.getMany(keys)),
  set: (key, value, ttlMs) => asked("state", () => routerState.set(key, payload(value), ttlMs ?? null)),
  /** Pairs of key and value, or an object: all are set or none, but for a store that routers share. */
  setMany(values, ttlMs) {
    const pairs = Array.isArray(values) ? values : Object.entries(values);
    asked("state", () => routerState.setMany(pairs.map(([key, value]) => [key, payload(value)]), ttlMs ?? null));
  },
  delete: (key) => asked("state", () => routerState.delete(key)),
  deleteMany: (keys) => asked("state", () => routerState.deleteMany(keys)),
  /** The keys that begin with `prefix`, at most 1,000. */
  keys: (prefix = "") => asked("state", () => routerState.keys(prefix)),
  /** Adds to a number, and returns the sum. Exact up to 2^53. */
  increment: (key, delta = 1, ttlMs) => asked("state", () => routerState.increment(key, delta, ttlMs ?? null)),
  /** Sets a value if the present one is `old`, null for absent. False if it is another. */
  swap(key, old, value, ttlMs) {
    const present = old === null ? null : payload(old);
    try {
      asked("state", () => routerState.swap(key, present, payload(value), ttlMs ?? null));
      return true;
    } catch (error) {
      if (error.tag === "conflict") return false;
      throw error;
    }
  },
};

function asked(name, call) {
  try {
    return call();
  } catch (error) {
    // What the router answered is in the error's payload, and the message says no more than that.
    throw error?.payload === undefined ? error : new CallError(name, error.payload);
  }
}
