// my-filter: passes orders of at least `min`, and marks them.
import { Level, log } from "./sdk/imports";
import { Event, Interest, Outcome, Route, edit, set } from "./sdk/trommel";

/** What the filter says of itself: a JSON object, whose members the contract lists. */
export const manifest: string = `{
  "name": "my-filter",
  "version": "0.1.0",
  "description": "Passes large orders",
  "hooks": ["normalize-params", "matches", "matches-batch", "process", "process-batch"],
  "params": [{ "name": "min", "type": "int", "default": "100", "description": "Smallest amount that passes" }]
}`;

/** Called for every route, in every instance: parse, and no more. With `problem` set the route is refused. */
export function make(key: string, params: Map<string, string>): Route {
  return new MyFilter(params);
}

/** What one route needs: its params, parsed once. */
class MyFilter extends Route {
  min: f64 = 100;

  constructor(params: Map<string, string>) {
    super();
    const names = params.keys();
    for (let i = 0; i < names.length; i++) {
      if (names[i] == "min") this.min = parseFloat(params.get("min"));
      else this.problem = "unknown param `" + names[i] + "`";
    }
    if (isNaN(this.min)) this.problem = "`min` is no number: `" + params.get("min") + "`";
  }

  /** What is not named is not handed over, and costs nothing. */
  interest(): Interest {
    const interest = new Interest();
    interest.matchReads = ["/amount"];
    interest.processReads = ["/amount"];
    return interest;
  }

  /** Called for every event of the key, very often. It can call nothing: it only decides. */
  matches(event: Event): bool {
    return event.number("/amount") >= this.min;
  }

  /** Called for what matched. */
  process(event: Event): Outcome {
    log(Level.Debug, "an order of " + event.number("/amount").toString());
    return edit([set("/large", "true")]); // all else stays as it was written
  }
}
