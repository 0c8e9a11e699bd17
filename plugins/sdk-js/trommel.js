// Filters for trommel in JavaScript: a class whose methods are the hooks, exported by `define`.
//
// A hook that the class does not have is never called. What the constructor throws refuses the route; what `process` or
// `tick` throws becomes a failure: the one that `malformed`, `retry`, `failed`, `defer` or `broken` made, a `failed` of what
// the API or the state refused, and of anything else a `malformed` with its stack, for the next try would end the same way.
// What `matches` throws ends the instance: nothing is ever taken for `false`.
import "./prelude.js";
import { BatchEvent, Event, Fields } from "./event.js";
import { failure } from "./failure.js";
import { Edits, emitted, Outcome } from "./outcome.js";
import { located } from "./stack.js";

export { broken, CallError, defer, failed, malformed, retry } from "./failure.js";
export { annotate, api, log, measure, state } from "./imports.js";
export { bury, drop, edit, emit, keep, replace } from "./outcome.js";
export { bytes, text } from "./text.js";

/** What a component exports: `export const { filter } = define(manifest, Class)`. */
export function define({ outputSchema, matchReads, processReads, sinks, ...told }, Route) {
  const has = (hook) => typeof Route.prototype[hook] === "function";
  const described = JSON.stringify({
    ...told,
    hooks: hooks(has, Route),
    grants: (told.grants ?? []).map((grant) => (typeof grant === "string" ? { name: grant } : grant)),
    output_schema: outputSchema,
  });
  const whole = (hook) => (has(hook) ? ["payload"] : []);
  const interest = {
    condition: "", matchReads: matchReads ?? whole("matches"), processReads: processReads ?? whole("process"), sinks: sinks ?? [],
  };

  class RouteSubscription {
    constructor(key, params) {
      const route = new Route(Object.fromEntries(params), key);
      this.route = route;
      this.said = route.interest === undefined ? interest : { ...interest, ...route.interest() };
      this.matchFields = new Fields(this.said.matchReads);
      this.processFields = new Fields(this.said.processReads);
    }

    interest() {
      return this.said;
    }

    matches(event) {
      try {
        return decision(this.route.matches(new Event(this.matchFields, event)));
      } catch (error) {
        throw located(error);
      }
    }

    matchesBatch(events) {
      const event = new BatchEvent(this.matchFields, events);
      const bits = new Uint32Array(2 * Math.ceil(event.count / 64));
      try {
        for (let number = 0; number < event.count; number++, event.next()) {
          if (decision(this.route.matches(event))) bits[number >> 5] |= 1 << (number & 31);
        }
      } catch (error) {
        throw located(error);
      }
      return new BigUint64Array(bits.buffer);
    }

    process(event) {
      return refused(() => outcome(this.route.process(new Event(this.processFields, event))));
    }

    processBatch(events) {
      const event = new BatchEvent(this.processFields, events);
      const answers = [];
      for (let number = 0; number < event.count; number++, event.next()) {
        try {
          answers.push({ tag: "ok", val: outcome(this.route.process(event)) });
        } catch (error) {
          answers.push({ tag: "err", val: failure(error) });
        }
      }
      return answers;
    }

    tick(now) {
      return refused(() => emitted(this.route.tick(now) ?? []));
    }
  }

  // Of a constructor the bindings take what it returns, as a result, and nothing that it throws.
  function Subscription(key, params) {
    try {
      return { tag: "ok", val: new RouteSubscription(key, params) };
    } catch (error) {
      return { tag: "err", val: failure(error) };
    }
  }

  const normalizeParams = (key, params) =>
    (Route.normalize ? refused(() => pairs(Route.normalize(Object.fromEntries(params), key))) : params);
  return { filter: { describe: () => described, normalizeParams, Subscription } };
}

function hooks(has, Route) {
  const hooks = Route.normalize ? ["normalize-params"] : [];
  for (const hook of ["matches", "process"]) if (has(hook)) hooks.push(hook, `${hook}-batch`);
  if (has("tick")) hooks.push("tick");
  return hooks;
}

const pairs = (params) => Object.entries(params).map(([name, value]) => [name, `${value}`]);

function decision(answer) {
  if (typeof answer?.then === "function") throw new TypeError("matches can't wait: it must not be async, nor return a promise");
  return Boolean(answer);
}

function outcome(answer) {
  if (answer instanceof Outcome || answer instanceof Edits) return answer;
  if (typeof answer?.then === "function") throw new TypeError("process can't wait: it must not be async, nor return a promise");
  throw new TypeError("process must return drop, keep, replace, edit or emit");
}

function refused(call) {
  try {
    return call();
  } catch (error) {
    throw failure(error);
  }
}
