// Text and bytes. QuickJS has no TextDecoder and no TextEncoder; its own functions are quicker than a loop.

/** UTF-8 to text. Throws a URIError when it is none. */
export function text(bytes) {
  return isAscii(bytes) ? latin(bytes) : decoded(latin(bytes));
}

/** Text to UTF-8. */
export function bytes(text) {
  // Most texts are ASCII, and then quicker.
  try {
    const bytes = ascii(text);
    if (isAscii(bytes)) return bytes;
  } catch {
    // A character that is no byte.
  }
  return ascii(unescape(encodeURIComponent(text)));
}

/** Text of characters below 256 to bytes, one each. */
export const ascii = (text) => Uint8Array.fromBase64(btoa(text));
/** Bytes to text, a character each. */
export const latin = (bytes) => atob(bytes.toBase64());
/** UTF-8, a character a byte, to text. */
export const decoded = (latin) => decodeURIComponent(escape(latin));

// As many arguments as a call takes for sure.
const PART = 4096;

/** Whether bytes are ASCII. To take the largest is quicker than an expression or a loop. */
export function isAscii(bytes) {
  if (bytes.length <= PART) return !(Math.max.apply(null, bytes) >= 0x80);
  for (let at = 0; at < bytes.length; at += PART) if (!isAscii(bytes.subarray(at, at + PART))) return false;
  return true;
}

/** What goes out as it is, as UTF-8, or as JSON. */
export function payload(value) {
  if (value instanceof Uint8Array) return value;
  return typeof value === "string" ? bytes(value) : jsonBytes(value);
}

function json(value) {
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`${typeof value} can't be written as JSON`);
  return text;
}

const TRUE = ascii("true");
const FALSE = ascii("false");

/** A value as JSON in UTF-8. */
export function jsonBytes(value) {
  switch (typeof value) {
    case "boolean": return value ? TRUE : FALSE;
    case "bigint": return ascii(`${value}`);
    case "number": return ascii(Number.isFinite(value) ? `${value}` : "null");
    default: return bytes(json(value));
  }
}

/** JSON to a value. Throws a SyntaxError when it is none, or is nested too deep. */
export function parsed(json) {
  // Few texts open as many lists and objects, and to count these is quicker than to go through them.
  if (json.length > DEEPEST && isTooDeep(json)) throw new SyntaxError(`it is nested more than ${DEEPEST} levels deep`);
  return JSON.parse(json);
}

// QuickJS does not know how much stack it has: JSON of many more levels would end the instance.
const DEEPEST = 1000;

function isTooDeep(json) {
  if (json.split("[").length + json.split("{").length <= DEEPEST) return false;
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
