// Where something was thrown, in the files that the author wrote. `lines.mjs` has told which line of the bundle is of which.

const table = () => globalThis[Symbol.for("trommel.lines")];

/** The stack of an error. */
export function stack(error) {
  const lines = table();
  const told = `${error?.stack ?? ""}`.trimEnd();
  if (lines === undefined) return told;
  return told.replaceAll(/([^\s():]+):(\d+)(?::\d+)?/g, (place, file, line) =>
    (file.endsWith(lines.bundle) && source(lines, Number(line))) || place);
}

/** Makes the stack of what is thrown on name those files. */
export function located(error) {
  if (table() !== undefined && error instanceof Error) error.stack = `${stack(error)}\n`;
  return error;
}

function source({ paths, runs }, line) {
  const run = runs.findLast(([first]) => first <= line);
  return run && `${paths[run[1]]}:${run[2] + line - run[0]}`;
}
