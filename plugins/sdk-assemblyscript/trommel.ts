// What filters in AssemblyScript are made of, on version 0.2 of the contract. filter.ts exports `manifest` and `make`.
// There are no exceptions here: what can go wrong is a value.
import * as memory from "./memory";

/** One route's interest: its params, parsed. */
export abstract class Route {
  /** What is wrong with the params, which refuses the route. */
  problem: string = "";
  interest(): Interest {
    return new Interest();
  }
  /** Pure: can call nothing but the log. */
  matches(event: Event): bool {
    return true;
  }
  process(event: Event): Outcome {
    return keep();
  }
  /** Called once an interval, with the time in Unix milliseconds: `emit` or a failure. */
  tick(now: u64): Outcome {
    return emit([]);
  }
}

export class Interest {
  /** As `where`: events that it does not hold for cost no call. */
  condition: string = "";
  matchReads: string[] = [];
  processReads: string[] = [];
  sinks: string[] = [];
}

/** The fields that the hook reads, by name. Parts of the payload are JSON as it is written there. */
export class Event {
  constructor(
    private names: string[],
    private at: usize,
  ) {}

  /** A field as it is written, null where it is absent. To get what is not read ends the instance. */
  get(name: string): string | null {
    const index = this.names.indexOf(name);
    assert(index >= 0, "the field `" + name + "` is not read: name it in matchReads or processReads");
    const at = this.at + 12 * index;
    return load<u8>(at) == 0 ? null : memory.read(at + 4);
  }

  /** A number, NaN where it is absent or something else. */
  number(name: string): f64 {
    const text = this.get(name);
    if (text === null || text.length == 0) return NaN;
    const first = text.charCodeAt(0);
    return first == 0x2d || (first >= 0x30 && first <= 0x39) ? parseFloat(text) : NaN;
  }

  /** A text: the one that a JSON string means. Null where it is absent or something else. */
  text(name: string): string | null {
    const text = this.get(name);
    return text === null || !name.startsWith("/") ? text : unquoted(text);
  }
}

/** What becomes of an event: what one of the functions below returns. */
export class Outcome {
  payload: string = "";
  changes: Change[] = [];
  emissions: Emission[] = [];
  code: string | null = null;
  after: u32 = 0;
  constructor(
    /** 0 to 4 as in the contract's `outcome`, from 8 on as in `failure-kind`. */
    public kind: u8,
    public detail: string = "",
  ) {}
  /** Gives a failure a word of your own that `dlq list --reason` finds. */
  withCode(code: string): Outcome {
    this.code = code;
    return this;
  }
}

export const drop = (): Outcome => new Outcome(0);
export const keep = (): Outcome => new Outcome(1);

export function replace(payload: string): Outcome {
  const made = new Outcome(2);
  made.payload = payload;
  return made;
}

/** Sends the event on with these changes; all else stays as it was written. */
export function edit(changes: Change[]): Outcome {
  const made = new Outcome(3);
  made.changes = changes;
  return made;
}

export function emit(emissions: Emission[]): Outcome {
  const made = new Outcome(4);
  made.emissions = emissions;
  return made;
}

export const malformed = (why: string): Outcome => new Outcome(8, why);
export const failed = (why: string): Outcome => new Outcome(10, why);
export const broken = (why: string): Outcome => new Outcome(12, why);

export function retry(ms: u32, why: string): Outcome {
  const made = new Outcome(9, why);
  made.after = ms;
  return made;
}

/** No failure: the event's time has not come. */
export function defer(ms: u32, why: string): Outcome {
  const made = new Outcome(11, why);
  made.after = ms;
  return made;
}

export class Change {
  constructor(
    public field: string,
    public kind: u8,
    public value: string = "",
  ) {}
}

/** Sets a part of the payload to a JSON text (see `quoted`), or `subject` or `header:NAME` to a plain one. */
export const set = (field: string, value: string): Change => new Change(field, 0, value);
export const remove = (field: string): Change => new Change(field, 1);
export const rename = (field: string, name: string): Change => new Change(field, 2, name);

export class Header {
  constructor(
    public name: string,
    /** Null to remove it. */
    public value: string | null,
  ) {}
}

/** One output. What is null is what is usual. */
export class Emission {
  sink: string | null = null;
  id: string | null = null;
  subject: string | null = null;
  /** Unix milliseconds before which it is not sent. */
  notBefore: u64 = 0;
  headers: Header[] = [];
  /** With a text it is no output but a dead letter. */
  buried: string | null = null;
  code: string | null = null;
  constructor(public payload: string) {}
}

/** A text as a JSON string. */
export function quoted(text: string): string {
  let json = '"';
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code == 0x22 || code == 0x5c) json += "\\" + text.charAt(i);
    else if (code < 0x20) json += "\\u00" + (code < 16 ? "0" : "1") + "0123456789abcdef".charAt(code & 15);
    else json += text.charAt(i);
  }
  return json + '"';
}

function unquoted(json: string): string | null {
  if (!json.startsWith('"')) return null;
  let text = "";
  for (let i = 1; i < json.length - 1; i++) {
    if (json.charCodeAt(i) != 0x5c) {
      text += json.charAt(i);
      continue;
    }
    const escape = json.charAt(++i);
    const plain = '"\\/bfnrt'.indexOf(escape);
    if (plain >= 0) {
      text += '"\\/\b\f\n\r\t'.charAt(plain);
    } else {
      text += String.fromCharCode(<i32>parseInt(json.substr(i + 1, 4), 16));
      i += 4;
    }
  }
  return text;
}
