// The types of trommel.js, and of what a filter may import.

export function text(bytes: Uint8Array): string;
export function bytes(text: string): Uint8Array;

export class Event {
  readonly type: string;
  readonly id: string | null;
  readonly subject: string | null;
  readonly sourceTime: string | null;
  /** When the router saw it, in Unix nanoseconds, of which a number holds the first 16 digits. */
  readonly observedAt: number;
  /** 1 on the first delivery. */
  readonly attempt: number;
  readonly headers: [name: string, value: string][];
  readonly payload: Uint8Array | null;
  /** The first value under a name, whatever its case. */
  header(name: string): string | undefined;
  text(): string;
  json(): unknown;
}

export type Params = Record<string, string>;

export function malformed(message: string): Error;
export function retry(ms: number, message: string): Error;
export function failed(message: string): Error;
export function broken(message: string): Error;

declare const outcome: unique symbol;
export interface Outcome { readonly [outcome]: true }

/** Bytes, text, or anything else as JSON. */
export type Payload = Uint8Array | string | object | number | boolean | null;

export interface Emission {
  payload: Payload;
  /** The event's own when absent. */
  subject?: string;
  /** Added to the event's. */
  headers?: [name: string, value: string][];
}

export const drop: Outcome;
export const keep: Outcome;
export function replace(payload: Payload): Outcome;
export function emit(emissions: Emission[]): Outcome;

export type Comparison =
  | "exists" | "equals" | "not-equals" | "less" | "less-or-equal" | "greater" | "greater-or-equal"
  | "starts-with" | "contains";
export type Condition = [field: string, comparison: Comparison, value?: string | number];

/** One route, made of its params. A hook that is not there is never called. */
export interface Route {
  /** Any of the lists, all of its conditions. */
  conditions?(): Condition[][];
  /** Pure: it can call nothing. */
  matches?(event: Event): boolean;
  process?(event: Event): Outcome;
}

export interface RouteClass {
  new (params: Params, key: string): Route;
  /** The params to use from then on; without it those that the constructor takes. */
  normalize?(params: Params, key: string): Params;
}

export type Field = "id" | "subject" | "sourceTime" | "headers" | "payload";

export interface Manifest {
  name: string;
  version: string;
  description?: string;
  matchReads?: Field[];
  processReads?: Field[];
  capabilities?: ("api" | "state")[];
}

export function define(manifest: Manifest, route: RouteClass): { filter: unknown; filterBatch: unknown };
