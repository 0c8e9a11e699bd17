// A router of lines with a console, for the tests of it.

import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../..");
const PROGRAM = process.env.TROMMEL ?? join(process.env.CARGO_TARGET_DIR ?? join(ROOT, "target"), "debug/trommel");

export const TOKEN = "console-t0ken-of-the-tests";
/** Keys besides those that the tests name. */
export const KEYS = 200;

const settings = (hasToken) => `
[admin]
listen = "127.0.0.1:0"
${hasToken ? 'token_file = "token"' : ""}

[[source]]
name = "orders"
type = "lines"
id = "/id"
event_type = "/type"
subject = "/to"

[[filter]]
name = "misbehave"
grants = ["state"]

[[sink]]
name = "out"
type = "null"

[[sink]]
name = "archive"
type = "null"

[dead_letter]
file = "dead-letters.ndjson"
`;

/** Keys and a filter that breaks what it emits, or does not. */
const keys = (mode) => `
[[key]]
key = "orders.large"
subject = "orders.*"
filter = "select"
where = "/amount > 0"
params = [{ name = "where", type = "string" }]

[[route]]
name = "large"
key = "orders.large"
params = { where = "/amount >= 500" }
sinks = ["out", "archive"]

[[key]]
key = "orders.all"
subject = "orders.>"

[[route]]
name = "all"
key = "orders.all"
sinks = ["archive"]

[[key]]
key = "broken"
subject = "broken.*"
filter = "misbehave"
params = [{ name = "mode" }, { name = "n", type = "int", default = "2" }]
retry = { patience = "0s" }

[[route]]
name = "only"
key = "broken"
sinks = ["out"]
params = { mode = "${mode}" }
`;

const many = Array.from({ length: KEYS }, (_, at) => `
[[key]]
key = "team-${String(at).padStart(3, "0")}.alerts"
subject = "teams.${at}.>"

[[route]]
key = "team-${String(at).padStart(3, "0")}.alerts"
sinks = ["out"]
`).join("");

export class Router {
  log = [];

  static async start({ hasToken = true } = {}) {
    const router = new Router();
    router.folder = mkdtempSync(join(tmpdir(), "trommel-console-"));
    for (const name of ["keys", "plugins"]) mkdirSync(join(router.folder, name));
    router.write("trommel.toml", settings(hasToken));
    router.write("token", TOKEN);
    router.write("keys/keys.toml", keys("malformed"));
    router.write("keys/teams.toml", many);
    cpSync(join(ROOT, "plugins/select.wasm"), join(router.folder, "plugins/select.wasm"));
    cpSync(join(ROOT, "tests/guests/misbehave.wasm"), join(router.folder, "plugins/misbehave.wasm"));
    const env = { ...process.env, TROMMEL_STATE_DIR: join(router.folder, "state") };
    delete env.TROMMEL_LOG;
    router.child = spawn(PROGRAM, ["run", router.folder], { env, stdio: ["pipe", "ignore", "pipe"] });
    router.child.stdin.on("error", () => {});
    router.ended = new Promise((resolve) => { for (const end of ["exit", "error"]) router.child.once(end, resolve); });
    const lines = createInterface({ input: router.child.stderr });
    const running = new Promise((resolve, reject) => {
      let address;
      lines.on("line", (line) => {
        router.log.push(line);
        address ??= line.includes("listening for admin") ? line.match(/address=(\S+)/)?.[1] : undefined;
        if (line.includes("running")) resolve(address);
      });
      router.child.once("exit", () => reject(new Error(router.log.join("\n"))));
      router.child.once("error", reject);
    });
    try {
      router.address = await running;
    } catch (error) {
      await router.stop();
      throw error;
    }
    return router;
  }

  get page() { return `http://${this.address}/console`; }

  write(name, text) { writeFileSync(join(this.folder, name), text); }

  /** From now on nothing breaks. */
  mend() { this.write("keys/keys.toml", keys("ok")); }

  send(event) { this.child.stdin.write(`${JSON.stringify(event)}\n`); }

  /** Orders and alerts, until the router ends. */
  feed() {
    let number = 0;
    this.feeding = setInterval(() => {
      for (let at = 0; at < 6; at += 1) {
        number += 1;
        const to = at < 4 ? "orders.eu" : `teams.${number % KEYS}.disk`;
        this.send({ id: `e-${number}`, type: at < 4 ? "order.created" : "alert", to, amount: (number * 37) % 1000 });
      }
    }, 50);
  }

  async stop() {
    clearInterval(this.feeding);
    this.child.kill("SIGTERM");
    await this.ended;
    rmSync(this.folder, { recursive: true, force: true });
  }
}
