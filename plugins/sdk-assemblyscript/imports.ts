// What a filter calls: the log and its metrics.
import { alloc, write } from "./memory";

@external("trommel:filter/log@0.2.0", "write")
declare function logWrite(level: i32, at: usize, size: usize, fields: usize, count: usize): void;
@external("trommel:filter/log@0.2.0", "enabled")
declare function logEnabled(level: i32): i32;
@external("trommel:filter/telemetry@0.2.0", "measure")
declare function telemetryMeasure(at: usize, size: usize, value: f64): void;
@external("trommel:filter/telemetry@0.2.0", "annotate")
declare function telemetryAnnotate(at: usize, size: usize, value: usize, valueSize: usize): void;

export enum Level { Trace, Debug, Info, Warn, Error }

export function log(level: Level, message: string): void {
  const at = alloc(8);
  write(at, message);
  logWrite(level, load<u32>(at), load<u32>(at, 4), 0, 0);
}

/** Whether lines of this level are written anywhere. */
export const enabled = (level: Level): bool => logEnabled(level) != 0;

/** Adds to a counter, sets a gauge, or is one value of a histogram: one of the manifest's `metrics`. */
export function measure(metric: string, value: f64): void {
  const at = alloc(8);
  write(at, metric);
  telemetryMeasure(load<u32>(at), load<u32>(at, 4), value);
}

/** Adds an attribute to the span of the call. */
export function annotate(name: string, value: string): void {
  const at = alloc(16);
  write(at, name);
  write(at + 8, value);
  telemetryAnnotate(load<u32>(at), load<u32>(at, 4), load<u32>(at, 8), load<u32>(at, 12));
}

/** Where an assertion or a trap of the language ends: its text is in the log and in the dead letter. */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  log(Level.Error, (message === null ? "abort" : message) + " at " + (file === null ? "" : file) + ":" + line.toString());
  unreachable();
}
