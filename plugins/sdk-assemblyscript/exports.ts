// The functions that the router calls, by the contract's ABI. transform.mjs gives them their names there.
import { make, manifest } from "../filter";
import { alloc, read, release, write, writeAll, writeOptional } from "./memory";
import { Emission, Event, Interest, Outcome, Route } from "./trommel";

@external("[export]trommel:filter/filter@0.2.0", "[resource-new]subscription")
declare function newSubscription(value: usize): i32;

/** A route and its interest, which stands for the subscription. */
class Subscription {
  interest: Interest;
  constructor(public route: Route) {
    this.interest = route.interest();
  }
}

export function realloc(old: usize, oldSize: usize, align: usize, size: usize): usize {
  return alloc(size);
}

/** The router has read an answer. */
export function done(answer: usize): void {
  release();
}

export function describe(): usize {
  const answer = alloc(8);
  write(answer, manifest);
  return answer;
}

function made(key: usize, keySize: usize, params: usize, count: usize): Route {
  const values = new Map<string, string>();
  for (let i: usize = 0; i < count; i++) values.set(read(params + 16 * i), read(params + 16 * i + 8));
  return make(String.UTF8.decodeUnsafe(key, keySize), values);
}

/** Writes why a route is refused. */
function refused(answer: usize, route: Route): bool {
  if (route.problem == "") return false;
  store<u8>(answer, 1);
  write(answer + 24, route.problem);
  return true;
}

export function normalizeParams(key: usize, keySize: usize, params: usize, count: usize): usize {
  const answer = alloc(32);
  if (!refused(answer, made(key, keySize, params, count))) {
    store<u32>(answer, <u32>params, 4);
    store<u32>(answer, <u32>count, 8);
  }
  return answer;
}

export function construct(key: usize, keySize: usize, params: usize, count: usize): usize {
  const answer = alloc(32);
  const route = made(key, keySize, params, count);
  if (!refused(answer, route)) store<i32>(answer, newSubscription(__pin(changetype<usize>(new Subscription(route)))), 4);
  return answer;
}

export function destruct(self: usize): void {
  __unpin(self);
}

export function interest(self: usize): usize {
  const answer = alloc(32);
  const own = changetype<Subscription>(self).interest;
  write(answer, own.condition);
  writeAll(answer + 8, own.matchReads);
  writeAll(answer + 16, own.processReads);
  writeAll(answer + 24, own.sinks);
  return answer;
}

export function matches(self: usize, event: usize, count: usize): i32 {
  const own = changetype<Subscription>(self);
  const answer = own.route.matches(new Event(own.interest.matchReads, event));
  release();
  return answer ? 1 : 0;
}

export function process(self: usize, event: usize, count: usize): usize {
  const own = changetype<Subscription>(self);
  const answer = alloc(32);
  writeOutcome(answer, own.route.process(new Event(own.interest.processReads, event)));
  return answer;
}

export function matchesBatch(self: usize, arena: usize, arenaSize: usize, index: usize, indexSize: usize): usize {
  const own = changetype<Subscription>(self);
  const count = counted(index);
  const words = (count + 63) / 64;
  const answer = alloc(8), bits = alloc(8 * words);
  for (let i: usize = 0; i < count; i++) {
    if (own.route.matches(new Event(own.interest.matchReads, row(arena, index, i)))) {
      const word = bits + 8 * (i / 64);
      store<u64>(word, load<u64>(word) | (<u64>1 << (i % 64)));
    }
  }
  store<u32>(answer, <u32>bits);
  store<u32>(answer, <u32>words, 4);
  return answer;
}

export function processBatch(self: usize, arena: usize, arenaSize: usize, index: usize, indexSize: usize): usize {
  const own = changetype<Subscription>(self);
  const count = counted(index);
  const answer = alloc(8), list = alloc(32 * count);
  for (let i: usize = 0; i < count; i++) {
    writeOutcome(list + 32 * i, own.route.process(new Event(own.interest.processReads, row(arena, index, i))));
  }
  store<u32>(answer, <u32>list);
  store<u32>(answer, <u32>count, 4);
  return answer;
}

export function tick(self: usize, now: u64): usize {
  const answer = alloc(32);
  const outcome = changetype<Subscription>(self).route.tick(now);
  if (outcome.kind >= 8) {
    writeOutcome(answer, outcome);
  } else {
    assert(outcome.kind == 4, "`tick` has no event: return `emit` or a failure");
    writeEmissions(answer + 4, outcome.emissions);
  }
  return answer;
}

function counted(index: usize): usize {
  assert(load<u32>(index) == 2, "a batch in a layout that this kit does not know");
  return load<u32>(index, 4);
}

/** The fields of an event of a batch, as those of a single one stand. */
function row(arena: usize, index: usize, at: usize): usize {
  const fields: usize = load<u32>(index, 8);
  const event = alloc(12 * fields);
  for (let i: usize = 0; i < fields; i++) {
    const part = index + 12 + 8 * (at * fields + i);
    if (load<u32>(part) == 0xffffffff) continue;
    store<u8>(event + 12 * i, 1);
    store<u32>(event + 12 * i, <u32>arena + load<u32>(part), 4);
    store<u32>(event + 12 * i, load<u32>(part, 4), 8);
  }
  return event;
}

function writeOutcome(at: usize, outcome: Outcome): void {
  if (outcome.kind >= 8) {
    store<u8>(at, 1);
    store<u8>(at, outcome.kind - 8, 4);
    store<u32>(at, outcome.after, 8);
    writeOptional(at + 12, outcome.code);
    write(at + 24, outcome.detail);
    return;
  }
  store<u8>(at, outcome.kind, 4);
  if (outcome.kind == 2) write(at + 8, outcome.payload);
  if (outcome.kind == 4) writeEmissions(at + 8, outcome.emissions);
  if (outcome.kind != 3) return;
  const list = alloc(20 * outcome.changes.length);
  for (let i = 0; i < outcome.changes.length; i++) {
    const change = outcome.changes[i], edit = list + 20 * i;
    write(edit, change.field);
    store<u8>(edit, change.kind, 8);
    write(edit + 12, change.value);
  }
  store<u32>(at, <u32>list, 8);
  store<u32>(at, outcome.changes.length, 12);
}

function writeEmissions(at: usize, emissions: Emission[]): void {
  const list = alloc(96 * emissions.length);
  for (let i = 0; i < emissions.length; i++) {
    const emission = emissions[i], one = list + 96 * i;
    write(one, emission.payload);
    writeOptional(one + 8, emission.sink);
    writeOptional(one + 20, emission.id);
    if (emission.notBefore != 0) store<u8>(one, 1, 32);
    store<u64>(one, emission.notBefore, 40);
    writeOptional(one + 48, emission.subject);
    const headers = alloc(20 * emission.headers.length);
    for (let j = 0; j < emission.headers.length; j++) {
      write(headers + 20 * j, emission.headers[j].name);
      writeOptional(headers + 20 * j + 8, emission.headers[j].value);
    }
    store<u32>(one, <u32>headers, 60);
    store<u32>(one, emission.headers.length, 64);
    const buried = emission.buried;
    if (buried === null) continue;
    store<u8>(one, 1, 68);
    writeOptional(one + 72, emission.code);
    write(one + 84, buried);
  }
  store<u32>(at, <u32>list);
  store<u32>(at, emissions.length, 4);
}
