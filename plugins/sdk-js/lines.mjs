// Puts the lines of the sources into a bundle, for stacks: `node sdk/lines.mjs build-js/filter.js`, where its map is beside it.
import { appendFileSync, readFileSync } from "node:fs";
import { posix } from "node:path";

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const [bundle] = process.argv.slice(2);
const { sources, mappings } = JSON.parse(readFileSync(`${bundle}.map`, "utf8"));
const paths = sources.map((source) => posix.join(posix.dirname(bundle), source));
appendFileSync(bundle, `globalThis[Symbol.for("trommel.lines")] = ${JSON.stringify({ bundle, paths, runs: runs(mappings) })};\n`);

/** Runs of lines that follow each other in the bundle as in a source: line in the bundle, source, line in the source, from 1. */
function runs(mappings) {
  const runs = [];
  let [source, line] = [0, 0];
  let last = {};
  mappings.split(";").forEach((segments, index) => {
    segments.split(",").filter((segment) => segment !== "").forEach((segment, position) => {
      const numbers = decoded(segment);
      if (numbers.length < 4) return;
      source += numbers[1];
      line += numbers[2];
      const offset = line - index;
      // A line is where the first of its parts came from.
      if (position === 0 && (source !== last.source || offset !== last.offset)) {
        last = { source, offset };
        runs.push([index + 1, source, line + 1]);
      }
    });
  });
  return runs;
}

/** The numbers of a segment, each in digits of five bits, the lowest first, and the sign in the lowest bit. */
function decoded(segment) {
  const numbers = [];
  let [number, shift] = [0, 0];
  for (const digit of segment) {
    const bits = DIGITS.indexOf(digit);
    number |= (bits & 31) << shift;
    shift += 5;
    if (bits < 32) {
      numbers.push(number & 1 ? -(number >> 1) : number >> 1);
      [number, shift] = [0, 0];
    }
  }
  return numbers;
}
