// The types of trommel.js.

/** UTF-8 to text. Throws a URIError when it is none. */
export function text(bytes: Uint8Array): string;
/** Text to UTF-8. */
export function bytes(text: string): Uint8Array;

type PlainField =
  | "subject" | "event-type" | "id" | "source-time" | "observed-at" | "attempt" | "tenant" | "content-type" | "source" | "stream"
  | "sequence" | "key" | "route" | "payload";
/** A field of an event; a JSON pointer is a member of its payload. */
export type Field = PlainField | `header:${string}` | `/${string}`;

/** One event, for as long as the hook runs. What is absent is undefined. */
export class Event {
  /** The value that a member's JSON has. */
  get(member: `/${string}`): unknown;
  /** Another field, as text. */
  get(field: PlainField | `header:${string}`): string | undefined;
  /** A field as it is written, of a member its JSON. */
  text(field: PlainField & ("subject" | "event-type" | "id" | "payload")): string;
  text(): string;
  text(field: Field): string | undefined;
  bytes(field: "payload"): Uint8Array;
  bytes(): Uint8Array;
  bytes(field: Field): Uint8Array | undefined;
  /** The whole payload as the value that its JSON has. */
  json(): unknown;
  /** The first value under a name, whatever its case. */
  header(name: string): string | undefined;
  readonly payload: Uint8Array;
  readonly subject: string;
  readonly type: string;
  readonly id: string;
}

export type Params = Record<string, string>;

interface FailureOptions {
  /** A word to find it by: `trommel dlq list --reason`. */
  code?: string;
}
/** The event can never be processed: straight to the dead letters. */
export function malformed(detail: string, options?: FailureOptions): Error;
/** Passing trouble: try again after this many milliseconds. */
export function retry(ms: number, detail: string, options?: FailureOptions): Error;
/** Try again by the key's policy, then dead letter. */
export function failed(detail: string, options?: FailureOptions): Error;
/** No failure: the event's time has not come. Ask again after this many milliseconds. */
export function defer(ms: number, detail?: string, options?: FailureOptions): Error;
/** The filter itself can't go on: it is quarantined, the event is kept. */
export function broken(detail: string, options?: FailureOptions): Error;

declare const outcome: unique symbol;
export interface Outcome { readonly [outcome]: true }
declare const fate: unique symbol;
export interface Fate { readonly [fate]: true }

/** Bytes, text, or anything else as JSON. */
export type Payload = Uint8Array | string | object | number | boolean | null;

export interface Emission {
  payload: Payload;
  /** The only sink it goes to, one of `sinks`. */
  sink?: string | undefined;
  /** In place of the router's own: outputs of a key with one id are repeats of each other. */
  id?: string | undefined;
  /** When it may be sent at the earliest: a date, or Unix milliseconds. */
  notBefore?: Date | number | undefined;
  /** The event's own when absent. */
  subject?: string | undefined;
  /** Added to the event's; null removes one. */
  headers?: Record<string, string | number | null> | [name: string, value: string | null][] | undefined;
  /** What `bury` returns; sent without it. */
  fate?: Fate | undefined;
}

/** Changes of an event. Each call returns a list of one more. */
export interface Edits extends Outcome {
  /** A member's new value, anything as JSON or bytes that are JSON. */
  set(member: `/${string}`, value: Uint8Array | Payload | bigint): Edits;
  set(field: "subject" | `header:${string}`, value: string): Edits;
  remove(field: `/${string}` | `header:${string}`): Edits;
  rename(member: `/${string}`, name: string): Edits;
}

/** Not wanted after all. */
export const drop: Outcome;
/** Send the event on as it is. Copies nothing back. */
export const keep: Outcome;
/** Send the event on with this payload. */
export function replace(payload: Payload): Outcome;
/** Send the event on with changes: `edit.set("/total", 17).remove("header:Authorization")`. */
export const edit: Edits;
/** Send these instead, in this order. */
export function emit(emissions: Emission[]): Outcome;
/** The fate of one output: a dead letter beside what else comes of the event. */
export function bury(code: string | null, detail: string): Fate;

type Level = "trace" | "debug" | "info" | "warn" | "error";
/** Lines in the router's log. */
export const log: Record<Level, (message: string, fields?: Record<string, unknown>) => void> & {
  /** Whether lines of this level are written anywhere. */
  enabled(level: Level): boolean;
};

/** Adds to a counter, sets a gauge, or is one value of a histogram: one of the manifest's `metrics`. */
export function measure(metric: string, value?: number): void;
/** Adds an attribute to the span of the call, if the event is traced. */
export function annotate(name: string, value: string | number | boolean): void;

/** What the router refused to do: a call of the API, or of the state. */
export class CallError extends Error {
  readonly tag: "denied" | "budget" | "timeout" | "failed" | "too-large" | "conflict" | "unavailable";
}

/** The answer of an API, whatever its status. */
export interface Response {
  readonly status: number;
  readonly ok: boolean;
  readonly headers: [name: string, value: string][];
  readonly body: Uint8Array;
  header(name: string): string | undefined;
  text(): string;
  json(): unknown;
}

export const api: {
  /** `path` is with its query, `api` the name of one of the router's APIs. Throws a CallError. */
  call(
    method: string, path: string, options?: { api?: string | null; headers?: Record<string, string>; body?: Payload | undefined },
  ): Response;
};

/** The small store of the filter and key. A value is bytes; text and anything else, as JSON, are made bytes. It throws
 * CallErrors. */
export const state: {
  get(key: string): Uint8Array | null;
  /** In the order of the keys. */
  getMany(keys: string[]): (Uint8Array | null)[];
  set(key: string, value: Payload, ttlMs?: number): void;
  /** Pairs of key and value, or an object: all are set or none, but for a store that routers share. */
  setMany(values: [string, Payload][] | Record<string, Payload>, ttlMs?: number): void;
  delete(key: string): void;
  deleteMany(keys: string[]): void;
  /** The keys that begin with `prefix`, at most 1,000. */
  keys(prefix?: string): string[];
  /** Adds to a number, and returns the sum. Exact up to 2^53. */
  increment(key: string, delta?: number, ttlMs?: number): number;
  /** Sets a value if the present one is `old`, null for absent. False if it is another. */
  swap(key: string, old: Payload, value: Payload, ttlMs?: number): boolean;
};

export interface Interest {
  /** Events that it does not hold for are passed over, without a call: `/order/amount >= 500; subject ^= orders.eu.`. */
  condition?: string;
  matchReads?: Field[];
  processReads?: Field[];
  sinks?: string[];
}

/** One route, made of its params. A hook that is not there is never called. */
export interface Route {
  /** What this route wants, in place of what the manifest says. */
  interest?(): Interest;
  /** Pure: it can call nothing but the log. */
  matches?(event: Event): boolean;
  process?(event: Event): Outcome;
  /** Called once an interval, with the time in Unix milliseconds. What it returns is sent. */
  tick?(now: number): Emission[] | undefined;
}

export interface RouteClass {
  /** What it throws refuses the route. */
  new (params: Params, key: string): Route;
  /** The params to use from then on; it may call what was granted. */
  normalize?(params: Params, key: string): Record<string, string | number | bigint | boolean>;
}

export interface Manifest {
  name: string;
  version: string;
  description?: string;
  /** What `matches` is handed, the payload by default. */
  matchReads?: Field[];
  /** What `process` is handed, the payload by default. */
  processReads?: Field[];
  /** The sinks that emissions choose. */
  sinks?: string[];
  /** What a key has to declare, as its `[[key.params]]`. */
  params?: {
    name: string; type?: string; required?: boolean; default?: string; description?: string; values?: string[];
  }[];
  /** What the filter wishes for: `api`, `state`, `identity`, and why. */
  grants?: (string | { name: string; reason?: string })[];
  /** Endpoints of the API that it calls, such as `GET /users/*`. */
  api?: string[];
  /** Memory of an instance, such as `"128MiB"`. */
  memory?: string;
  /** Time between two ticks, such as `"10s"`. */
  interval?: string;
  metrics?: { name: string; kind: "counter" | "gauge" | "histogram"; description?: string }[];
  /** The JSON Schema of its outputs. */
  outputSchema?: object;
}

export function define(manifest: Manifest, route: RouteClass): { filter: unknown };
