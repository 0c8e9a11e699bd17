// What a filter may import when its world does. What goes wrong is thrown: an `Error` whose `payload` says what.

declare module "trommel:filter/log@0.1.1" {
  const log: { write(level: "trace" | "debug" | "info" | "warn" | "error", message: string): void };
  export default log;
}

declare module "trommel:filter/api@0.1.1" {
  export type ApiError =
    | { tag: "denied" | "failed"; val: string }
    | { tag: "budget" | "timeout" }
    | { tag: "status"; val: [status: number, body: string] };
  const api: {
    /** Throws an `Error` with an `ApiError`. */
    call(method: string, path: string, body: string | null): string;
  };
  export default api;
}

declare module "trommel:filter/state@0.1.1" {
  export type StateError = { tag: "denied" | "too-large" | "conflict" } | { tag: "unavailable"; val: string };
  /** The functions throw an `Error` with a `StateError`. Numbers are exact up to 2^53. */
  const state: {
    get(key: string): Uint8Array | null;
    set(key: string, value: Uint8Array, ttlMs: number | null): void;
    delete(key: string): void;
    add(key: string, delta: number, ttlMs: number | null): number;
  };
  export default state;
}
