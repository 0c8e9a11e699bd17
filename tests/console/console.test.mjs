// The console as its users have it: in a real browser, at a router that runs.
// `SCREENSHOTS=1` writes the pictures of the documentation anew.

import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { dirname, join } from "node:path";
import { after, before, test as limited } from "node:test";
import { fileURLToPath } from "node:url";

import { Browser } from "./browser.mjs";
import { KEYS, Router, TOKEN } from "./router.mjs";

const VIEWS = ["overview", "plots", "events", "letters", "deliveries", "plugins", "playground"];
const IMAGES = process.env.SCREENSHOTS && join(dirname(fileURLToPath(import.meta.url)), "../../docs/images");
/** A picture of the documentation, in bytes. */
const LARGEST = 300_000;
const HOSTILE = '<img src=x onerror="window.harmed = true">';

/** Longest time of a test, in milliseconds: what hangs says so. */
const timeout = 120_000;
const test = (name, run) => limited(name, { timeout }, run);

let browser, router;
before(async () => {
  router = await Router.start();
  browser = new Browser();
  router.send({ id: "bad-1", type: HOSTILE, to: "broken.1", note: HOSTILE });
  router.feed();
}, { timeout });
after(async () => { await Promise.allSettled([browser?.close(), router?.stop()]); }, { timeout });

/** Opens the console, and gives it the token when it asks. */
async function open(options) {
  const page = await browser.open(router.page, options);
  await page.until("document.getElementById('ask')?.open");
  await page.value("document.getElementById('ask-token').focus()");
  await page.type(TOKEN);
  await page.click("document.getElementById('ask-use')");
  await page.until("document.getElementById('state')?.textContent.includes('generation')");
  // The first answer was the demand for a token.
  page.errors = page.errors.filter((error) => !error.includes("401"));
  return page;
}

async function go(page, view) {
  await page.click(`document.querySelector('nav a[href="#${view}"]')`);
  await page.until(`document.querySelector('nav a[aria-current]')?.hash === "#${view}"`);
}

async function picture(page, name) {
  const png = await page.screenshot();
  assert.ok(png.length < LARGEST, `${name} has ${png.length} bytes`);
  if (IMAGES) { mkdirSync(IMAGES, { recursive: true }); writeFileSync(join(IMAGES, name), png); }
}

const node = (id) => `document.querySelector('.node[data-id="${id}"]')`;

test("every view loads without an error, and from nowhere else", async () => {
  const page = await open();
  for (const view of VIEWS) {
    await go(page, view);
    await page.until("document.querySelector('main').children.length > 0");
  }
  assert.deepEqual(page.errors, []);
  const foreign = page.requests.filter((url) => !url.startsWith(`http://${router.address}/`) && !url.startsWith("data:"));
  assert.deepEqual(foreign, []);
});

test("the topology shows the parts with their rates, the worst of many keys", async () => {
  const page = await open();
  for (const id of ["source/orders", "key/orders.large", "key/orders.all", "key/broken", "filter/select", "filter/misbehave", "sink/out", "sink/archive"]) {
    await page.until(`${node(id)} != null`);
  }
  assert.ok(await page.value("document.querySelectorAll('.node[data-id^=\"key/\"]').length") <= 12);
  await page.until(`${node("others/others")}.textContent.includes("more keys")`);
  await page.until("document.querySelectorAll('.edge.flows').length > 3");
  await page.until("[...document.querySelectorAll('.picture text.rate')].some((text) => parseFloat(text.textContent) > 10)");
  assert.ok(await page.value("document.documentElement.scrollHeight") < 4000, "not much to scroll");
  await picture(page, "console.png");
  // One of the many, by its name.
  await page.value("document.querySelector('input[type=search]').focus()");
  await page.type("team-137");
  await page.until(`${node("key/team-137.alerts")} != null && ${node("key/orders.large")} == null`);
  await page.until(`document.querySelector('.count').textContent.startsWith("1 of ${KEYS + 3} keys")`);
});

test("a part is chosen by keyboard, and tells of itself", async () => {
  const page = await open();
  await page.until(`${node("key/orders.large")} != null`);
  await page.value(`${node("key/orders.large")}.focus()`);
  await page.key("Enter");
  const detail = "document.querySelector('[aria-label=\"Chosen part\"]')";
  await page.until(`${detail}.textContent.includes("key orders.large")`);
  const text = await page.value(`${detail}.innerText`);
  assert.match(text, /where \/amount > "0"/);
  assert.match(text, /large → out, archive/);
  for (const [title, told] of [["Pause", "is paused"], ["Resume", "goes on"]]) {
    await page.click(`[...${detail}.querySelectorAll("button")].find((one) => one.textContent === "${title}")`);
    await page.until(`document.getElementById("notice").textContent === "key orders.large ${told}"`);
  }
});

test("a click is no click less when the page is brought up to date meanwhile", async () => {
  const page = await open();
  await page.until(`${node("key/orders.large")} != null`);
  await page.value("document.querySelector('[aria-label=Keys] tbody button').focus()");
  const { x, y } = await page.value(`(() => { const one = document.querySelector("table[aria-label=Keys] tbody button"); window.held = one;
    one.scrollIntoView({ block: "center" }); const box = one.getBoundingClientRect(); return { x: box.x + box.width / 2, y: box.y + box.height / 2 }; })()`);
  const point = { x, y, button: "left", clickCount: 1 };
  await page.send("Input.dispatchMouseEvent", { ...point, type: "mousePressed" });
  await page.value(`(async () => { const { live } = await import("/console/feed.js");
    for (let at = 0; at < 2; at += 1) await new Promise((resolve) => live.addEventListener("sample", resolve, { once: true })); })()`);
  await page.send("Input.dispatchMouseEvent", { ...point, type: "mouseReleased" });
  await page.until("document.querySelector('[aria-label=\"Chosen part\"]').textContent.includes(`key ${window.held.textContent}`)");
  await page.until("!window.held.isConnected");
});

test("what others wrote is text", async () => {
  const page = await open();
  await go(page, "events");
  // Of many events in a second the feed shows a part.
  const sending = setInterval(() => router.send({ id: HOSTILE, type: HOSTILE, to: "orders.eu", note: HOSTILE }), 50);
  try {
    await page.until(`document.querySelector('main').innerText.includes("onerror")`);
  } finally {
    clearInterval(sending);
  }
  assert.equal(await page.value("window.harmed ?? document.querySelectorAll('img').length"), 0);
  await go(page, "letters");
  await page.until("document.querySelectorAll('main tbody tr').length > 0");
  await page.click("document.querySelector('main tbody button[aria-expanded]')");
  await page.until(`document.querySelector('main pre').textContent.includes("onerror")`);
  assert.equal(await page.value("window.harmed ?? document.querySelectorAll('img').length"), 0);
});

test("assistive technology is told what is what", async () => {
  const page = await open();
  await page.until(`${node("sink/out")} != null`);
  const told = await page.accessible();
  const has = (role, name) => told.some((one) => one.role === role && one.name.includes(name));
  for (const [role, name] of [["navigation", "Views"], ["main", ""], ["status", ""], ["link", "Dead letters"], ["columnheader", "Key"],
    ["table", "Keys"], ["searchbox", "Search keys"], ["button", "sink out: ok"], ["heading", "Topology"]]) {
    assert.ok(has(role, name), `no ${role} named ${name}`);
  }
});

test("plots and plugins show what the router measures", async () => {
  const page = await open();
  await go(page, "plots");
  await page.until("document.querySelectorAll('live-plot svg[role=img] path').length > 3");
  await page.until("document.querySelector('figcaption').textContent.includes('received')");
  await go(page, "plugins");
  await page.until("document.querySelector('main tbody').innerText.includes('select')");
  assert.deepEqual(page.errors, []);
});

test("the playground explains an event, also with other conditions", async () => {
  const page = await open();
  await go(page, "playground");
  await page.until("document.querySelectorAll('#key option').length > 100");
  const explain = async (amount, where, written = JSON.stringify({ event_type: "order.created", subject: "orders.eu", payload: { amount } })) => {
    await page.value(`(() => { const set = (id, value) => { document.getElementById(id).value = value; document.getElementById(id).dispatchEvent(new Event("change")); };
      set("event", ${JSON.stringify(written)});
      set("key", "orders.large"); set("where", ${JSON.stringify(where)});
      document.querySelector('[aria-label=Outcome] div').replaceChildren(); })()`);
    await page.click("[...document.querySelectorAll('button')].find((one) => one.textContent === 'Explain')");
    return page.until("document.querySelector('[aria-label=Outcome] div').innerText");
  };
  assert.match(await explain(700, ""), /large kept/);
  assert.match(await explain(700, "/amount > 1000"), /large dropped/);
  // Numbers go as they are written.
  const numbers = '{"event_type":"order.created","subject":"orders.eu","payload":{"amount":12345678901234567890,"price":1.0}}';
  await page.value("(() => { const real = fetch; window.fetch = (path, request) => { window.sent = request?.body; return real(path, request); }; })()");
  assert.match(await explain(0, "", numbers), /large kept/);
  assert.ok((await page.value("window.sent")).includes(numbers));
});

test("a dead letter is retried by a click", async () => {
  const page = await open();
  await go(page, "letters");
  await page.until("document.querySelectorAll('main tbody tr').length === 1");
  router.mend();
  const again = "[...document.querySelectorAll('main tbody button')].find((one) => one.textContent === 'Retry')";
  await page.click(again);
  await page.until("document.querySelector('[aria-label=Results]').innerText.includes('emitted')");
  await page.until("document.querySelector('main').innerText.includes('no dead letters')");
  assert.deepEqual(page.errors, []);
});

test("it is dark where the system is", async () => {
  const page = await open({ dark: true });
  await page.until(`${node("sink/out")} != null`);
  await page.until("document.querySelectorAll('.edge.flows').length > 3");
  const [page_colour] = (await page.value("getComputedStyle(document.body).backgroundColor")).match(/\d+/g).map(Number);
  assert.ok(page_colour < 60);
  await picture(page, "console-dark.png");
});

test("a phone needs no sideways scrolling", async () => {
  const page = await open({ width: 390, height: 844 });
  for (const view of VIEWS) {
    await go(page, view);
    await page.until("document.querySelector('main').innerText.length > 20");
    const wide = await page.value("document.documentElement.scrollWidth");
    assert.ok(wide <= 390, `${view} is ${wide} wide`);
  }
  await go(page, "overview");
  await page.until("/orders.large[^]*[1-9]\\d\\/s/.test(document.querySelector('main').innerText)");
  await page.value("scrollTo(0, 0)");
  await picture(page, "console-phone.png");
});

test("without a token it is read-only, and pages of other sites learn nothing", async () => {
  const open_router = await Router.start({ hasToken: false });
  try {
    const page = await browser.open(open_router.page);
    await page.until("document.getElementById('state')?.textContent.includes('read-only')");
    const answer = await fetch(`http://${open_router.address}/console/letters/drop`, { method: "POST", body: '{"ids":[1]}' });
    assert.equal(answer.status, 403);
    assert.match((await answer.json()).error.hint, /token_file/);
    for (const headers of [{ Host: "evil.example" }, { Origin: "http://evil.example" }, { "Sec-Fetch-Site": "cross-site" }]) {
      for (const path of ["/console/feed", "/console/letters"]) {
        const status = await new Promise((resolve, reject) => {
          const [host, port] = open_router.address.split(":");
          request({ host, port, path, headers }, (answer) => { answer.destroy(); resolve(answer.statusCode); }).on("error", reject).end();
        });
        assert.equal(status, 403, `${path} ${JSON.stringify(headers)}`);
      }
    }
  } finally {
    await open_router.stop();
  }
});
