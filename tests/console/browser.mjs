// A headless Chromium, driven over its own pipe: no package is needed.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Longest wait for what a page is to show. */
const PATIENCE = 20_000;
/** Longest wait for Chromium to end by itself, in milliseconds. */
const LEAVE = 10_000;

export class Browser {
  #child; #profile; #asked = new Map(); #next = 1; #rest = ""; #pages = new Map(); #ended;

  constructor() {
    this.#profile = mkdtempSync(join(tmpdir(), "trommel-chromium-"));
    const words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio",
      "--hide-scrollbars", "--remote-debugging-pipe", `--user-data-dir=${this.#profile}`, "about:blank"];
    this.#child = spawn("chromium", words, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
    this.#child.stdio[4].setEncoding("utf8").on("data", (text) => this.#read(text));
    this.#child.stdio[3].on("error", () => {});
    this.#ended = new Promise((resolve) => {
      this.#child.once("exit", (code, signal) => resolve(`Chromium has ended with ${signal ?? code}`));
      this.#child.once("error", (error) => resolve(`Chromium does not run: ${error.message}`));
    });
    this.#ended.then((why) => {
      // Those asked later get the same answer.
      this.send = () => Promise.reject(new Error(why));
      for (const { reject } of this.#asked.values()) reject(new Error(why));
    });
  }

  #read(text) {
    const messages = (this.#rest + text).split("\0");
    this.#rest = messages.pop();
    for (const message of messages.map((text) => JSON.parse(text))) {
      const { resolve, reject } = this.#asked.get(message.id) ?? {};
      this.#asked.delete(message.id);
      if (message.error) reject?.(new Error(message.error.message));
      else if (message.id) resolve?.(message.result);
      else this.#pages.get(message.sessionId)?.heard(message);
    }
  }

  send(method, params = {}, sessionId) {
    const id = this.#next++;
    this.#child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((resolve, reject) => this.#asked.set(id, { resolve, reject }));
  }

  async open(url, { width = 1280, height = 900, dark = false } = {}) {
    // A browser has six connections to a host, and each page of ours holds one.
    for (const [session, page] of this.#pages) {
      await this.send("Target.closeTarget", { targetId: page.target });
      this.#pages.delete(session);
    }
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page(this, sessionId, targetId);
    this.#pages.set(sessionId, page);
    for (const domain of ["Page", "Runtime", "Log", "Network"]) await page.send(`${domain}.enable`);
    await page.size(width, height);
    await page.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }] });
    await page.send("Page.navigate", { url });
    return page;
  }

  async close() {
    const killing = setTimeout(() => this.#child.kill("SIGKILL"), LEAVE);
    await this.send("Browser.close").catch(() => {});
    await this.#ended;
    clearTimeout(killing);
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

class Page {
  /** What went wrong: exceptions, errors of the console and violations of the policy. */
  errors = [];
  /** Addresses that were asked for. */
  requests = [];

  constructor(browser, session, target) { Object.assign(this, { browser, session, target }); }

  send(method, params) { return this.browser.send(method, params, this.session); }

  heard({ method, params }) {
    if (method === "Runtime.exceptionThrown") this.errors.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    if (method === "Runtime.consoleAPICalled" && params.type === "error") this.errors.push(params.args.map((one) => one.value ?? one.description).join(" "));
    if (method === "Log.entryAdded" && params.entry.level === "error") this.errors.push(`${params.entry.text} ${params.entry.url ?? ""}`);
    if (method === "Network.requestWillBeSent") this.requests.push(params.request.url);
  }

  size(width, height) {
    return this.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: width < 700 });
  }

  /** The value of an expression in the page. */
  async value(expression) {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** Waits until an expression holds. */
  async until(expression) {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      const value = await this.value(expression);
      if (value) return value;
      if (Date.now() > deadline) throw new Error(`never: ${expression}\n${await this.value("document.body.innerText.slice(0, 2000)")}\n${this.errors.join("\n")}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Clicks with the pointer, in the middle of an element. */
  async click(expression) {
    await this.until(`(${expression}) != null`);
    const { x, y } = await this.value(`(() => { const one = ${expression}; one.scrollIntoView({ block: "center" });
      const box = one.getBoundingClientRect(); return { x: box.x + box.width / 2, y: box.y + box.height / 2 }; })()`);
    for (const type of ["mousePressed", "mouseReleased"]) {
      await this.send("Input.dispatchMouseEvent", { type, x, y, button: "left", clickCount: 1 });
    }
  }

  async key(key) {
    for (const type of ["keyDown", "keyUp"]) await this.send("Input.dispatchKeyEvent", { type, key, code: key, windowsVirtualKeyCode: key === "Enter" ? 13 : 0, text: type === "keyDown" && key === "Enter" ? "\r" : undefined });
  }

  type(text) { return this.send("Input.insertText", { text }); }

  async screenshot() {
    const { data } = await this.send("Page.captureScreenshot", { format: "png" });
    return Buffer.from(data, "base64");
  }

  /** Roles and names of what assistive technology is told of. */
  async accessible() {
    const { nodes } = await this.send("Accessibility.getFullAXTree");
    return nodes.filter((node) => !node.ignored).map((node) => ({ role: node.role?.value, name: node.name?.value ?? "" }));
  }
}
