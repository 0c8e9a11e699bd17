// Reads two fields and sets one.
import { define, edit } from "./sdk/trommel.js";

class Edit {
  matches(event) {
    return event.get("/amount") >= 100;
  }

  process(event) {
    return edit.set("/rebate", event.get("/customer/tier") === "silver" ? event.get("/amount") / 100 : 0);
  }
}

export const { filter } = define({
  name: "edit",
  version: "1.0.0",
  matchReads: ["/amount"],
  processReads: ["/amount", "/customer/tier"],
}, Edit);
