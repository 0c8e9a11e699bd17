// What libraries look for and QuickJS does not have.
import random from "wasi:random/random@0.2.12";
import { log } from "./imports.js";
import { stack } from "./stack.js";
import { bytes, text } from "./text.js";

const line = (values) => values.map(shown).join(" ");

function shown(value) {
  if (typeof value === "string") return value;
  if (value instanceof Error) return `${value}\n${stack(value)}`.trimEnd();
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

globalThis.console ??= {
  debug: (...values) => log.debug(line(values)),
  error: (...values) => log.error(line(values)),
  info: (...values) => log.info(line(values)),
  log: (...values) => log.info(line(values)),
  trace: (...values) => log.trace(line(values)),
  warn: (...values) => log.warn(line(values)),
};

globalThis.TextEncoder ??= class TextEncoder {
  get encoding() { return "utf-8"; }
  encode(value = "") { return bytes(`${value}`.toWellFormed()); }
};

globalThis.TextDecoder ??= class TextDecoder {
  constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
    if (!/^\s*utf-?8\s*$/i.test(label)) throw new RangeError(`only UTF-8 can be decoded, not ${label}`);
    this.encoding = "utf-8";
    this.fatal = fatal;
    this.ignoreBOM = ignoreBOM;
  }

  decode(source = new Uint8Array()) {
    const given = ArrayBuffer.isView(source)
      ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
      : new Uint8Array(source);
    const decoded = this.#decoded(given);
    return !this.ignoreBOM && decoded[0] === "\ufeff" ? decoded.slice(1) : decoded;
  }

  #decoded(given) {
    try {
      return text(given);
    } catch {
      if (this.fatal) throw new TypeError("the bytes are not UTF-8");
      return mended(given);
    }
  }
};

// Each byte that can't be a part of a character becomes U+FFFD, which is more of them than browsers make.
function mended(given) {
  let whole = "";
  for (let at = 0; at < given.length;) {
    const width = [1, 2, 3, 4].find((width) => isCharacter(given.subarray(at, at + width), width));
    whole += width === undefined ? "\ufffd" : text(given.subarray(at, at + width));
    at += width ?? 1;
  }
  return whole;
}

function isCharacter(part, width) {
  if (part.length < width) return false;
  try {
    return [...text(part)].length === 1;
  } catch {
    return false;
  }
}

globalThis.crypto ??= {
  getRandomValues(array) {
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength).set(random.getRandomBytes(array.byteLength));
    return array;
  },
  randomUUID() {
    const drawn = crypto.getRandomValues(new Uint8Array(16));
    drawn[6] = (drawn[6] & 0x0f) | 0x40;
    drawn[8] = (drawn[8] & 0x3f) | 0x80;
    return drawn.toHex().replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  },
};
