// Events, as a hook sees them: each part is made of bytes when it is asked for, and not before.
import { malformed } from "./failure.js";
import { decoded, isAscii, latin, parsed, text } from "./text.js";

/** Fields that a hook is handed, by their names. */
export class Fields {
  constructor(names) {
    this.names = names;
    this.places = new Map(names.map((name, place) => [name, place]));
  }

  place(name) {
    const place = this.places.get(name);
    if (place !== undefined) return place;
    const read = this.names.map((name) => `\`${name}\``).join(", ") || "nothing";
    throw new TypeError(`\`${name}\` is not read, only ${read}: name it in \`matchReads\` or \`processReads\``);
  }
}

/** One event, for as long as the hook runs. */
export class Event {
  constructor(fields, values) {
    this._fields = fields;
    this._values = values;
  }

  /** A member of the payload as the value that its JSON has, another field as text. What is absent is undefined. */
  get(name) {
    const place = this._fields.places.get(name);
    if (place === undefined) return this._inPayload(name);
    try {
      const value = this._text(place);
      return value !== undefined && name.charCodeAt(0) === SLASH ? parsed(value) : value;
    } catch (error) {
      throw unreadable(name, error);
    }
  }

  /** A field as it is written, of a member its JSON. */
  text(name = "payload") {
    const place = this._fields.place(name);
    try {
      return this._text(place);
    } catch (error) {
      throw unreadable(name, error);
    }
  }

  bytes(name = "payload") {
    return this._bytes(this._fields.place(name));
  }

  /** The whole payload as the value that its JSON has. */
  json() {
    if (this._json === undefined) {
      const text = this.text();
      try {
        this._json = { value: parsed(text) };
      } catch (error) {
        throw unreadable("payload", error);
      }
    }
    return this._json.value;
  }

  /** The first value under a name, whatever its case. */
  header(name) {
    return this.get(`header:${name}`);
  }

  get payload() { return this.bytes(); }
  get subject() { return this.get("subject"); }
  get type() { return this.get("event-type"); }
  get id() { return this.get("id"); }

  // A member of a payload that is there as a whole.
  _inPayload(name) {
    if (name.charCodeAt(0) !== SLASH || !this._fields.places.has("payload")) this._fields.place(name);
    let value = this.json();
    for (const step of name.slice(1).split("/")) {
      const member = step.replaceAll("~1", "/").replaceAll("~0", "~");
      if (Array.isArray(value) && !/^(0|[1-9][0-9]*)$/.test(member)) return undefined;
      if (value === null || typeof value !== "object" || !Object.hasOwn(value, member)) return undefined;
      value = value[member];
    }
    return value;
  }

  _bytes(place) {
    return this._values[place] ?? undefined;
  }

  _text(place) {
    const value = this._values[place];
    return value === null || value === undefined ? undefined : text(value);
  }
}

const SLASH = 0x2f;

function unreadable(name, error) {
  return malformed(`${name === "payload" ? "the payload" : `\`${name}\``} can't be read: ${error.message}`);
}

const LAYOUT = 2;
const ABSENT = 0xffff_ffff;

/**
 * The events of a batch, one after the other in one object: the one that stands at `at`. A part is a substring of one text
 * of all bytes.
 */
export class BatchEvent extends Event {
  constructor(fields, { arena, index }) {
    super(fields, null);
    // A copy stands where numbers may stand.
    const numbers = new Uint32Array(index.slice().buffer);
    if (numbers[0] !== LAYOUT) throw new Error(`unknown layout ${numbers[0]} of a batch`);
    this._arena = arena;
    this._index = numbers;
    this._row = 3;
    this.count = numbers[1];
  }

  next() {
    this._row += 2 * this._index[2];
    this._json = undefined;
  }

  _bytes(place) {
    const at = this._row + 2 * place;
    const start = this._index[at];
    return start === ABSENT ? undefined : this._arena.subarray(start, start + this._index[at + 1]);
  }

  _text(place) {
    const at = this._row + 2 * place;
    const start = this._index[at];
    if (start === ABSENT) return undefined;
    if (this._latin === undefined) {
      this._latin = latin(this._arena);
      this._isAscii = isAscii(this._arena);
    }
    const part = this._latin.substring(start, start + this._index[at + 1]);
    return this._isAscii ? part : decoded(part);
  }
}
