// my-filter: passes orders of at least `min`, and says of each that it is large.
import { define, edit, log, malformed, type Event, type Outcome, type Params, type Route } from "./sdk/trommel.js";

/** One route: its params, parsed once. */
export class MyFilter implements Route {
  readonly min: number;

  // Called for every route, in every instance: parse, and no more. What it throws refuses the route.
  constructor({ min = "100", ...others }: Params) {
    this.min = Number(min);
    if (!Number.isFinite(this.min)) throw malformed(`\`min\` is no number: \`${min}\``);
    for (const name of Object.keys(others)) throw malformed(`unknown param \`${name}\``);
  }

  // Called for every event of the key, very often. It can call nothing but `log`: it only decides.
  matches(event: Event): boolean {
    const amount = event.get("/amount");
    return typeof amount === "number" && amount >= this.min;
  }

  // Called for what matched. Returns `drop`, `keep`, `replace(...)`, `edit.set(...)` or `emit([...])`; throws
  // `malformed(...)`, `retry(...)`, `failed(...)`, `defer(...)` or `broken(...)`.
  process(event: Event): Outcome {
    log.debug("a large order", { amount: event.get("/amount") });
    return edit.set("/large", true);
  }
}

export const { filter } = define({
  name: "my-filter",
  version: "0.1.0",
  description: "Passes large orders",
  params: [{ name: "min", type: "int", default: "100", description: "Smallest amount that passes" }],
  // What is not named is not handed over, and costs nothing: parts of the payload, `header:NAME`, `subject`, `payload` …
  matchReads: ["/amount"],
  processReads: ["/amount"],
}, MyFilter);
