// my-filter: passes orders of at least `min`, and of them only what is wanted.
import log from "trommel:filter/log@0.1.1";
import { define, malformed, replace, type Event, type Outcome, type Params, type Route } from "./sdk/trommel.js";

/** One route: its params, parsed once. */
class MyFilter implements Route {
  readonly min: number;

  // Called for every route, in every instance: parse, and no more. What it throws refuses the route.
  constructor({ min = "100", ...others }: Params) {
    this.min = Number(min);
    if (!Number.isFinite(this.min)) throw malformed(`\`min\` is no number: \`${min}\``);
    for (const name of Object.keys(others)) throw malformed(`unknown param \`${name}\``);
  }

  // Called for every event of the key, very often. It can call nothing: it only decides.
  matches(event: Event): boolean {
    return amountOf(event) >= this.min;
  }

  // Called for what matched. Returns `drop`, `keep`, `replace(...)` or `emit([...])`; throws `malformed(...)`,
  // `retry(...)`, `failed(...)` or `broken(...)`.
  process(event: Event): Outcome {
    const amount = amountOf(event);
    log.write("debug", `an order of ${amount}`);
    return replace({ amount, large: true });
  }
}

/** The amount of an order, NaN of anything else: what throws in `matches` breaks the filter, not the event. */
function amountOf(event: Event): number {
  try {
    const { amount } = (event.json() ?? {}) as { amount?: unknown };
    return typeof amount === "number" ? amount : NaN;
  } catch {
    return NaN;
  }
}

export const { filter, filterBatch } = define({
  name: "my-filter",
  version: "0.1.0",
  description: "Passes large orders",
  // What is not asked for is not handed over, and costs nothing.
  matchReads: ["payload"],
  processReads: ["payload"],
}, MyFilter);
