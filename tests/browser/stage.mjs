// What all stories in the browser share: the browser itself, a visitor of the shop, and how stories are told.
// Environment: BASE (the gateway), SHOP (the pretend partner's page), SIM (the simulated Stripe), SHOTS (a folder
// for screenshots), ONLY (stories, by commas).

import assert from "node:assert/strict";
import { AsyncLocalStorage } from "node:async_hooks";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";

import { chromium } from "playwright-core";

const { BASE, SHOP, SIM, SHOTS } = process.env;
export const GOOD = "4242424242424242";
const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const ARGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

await mkdir(SHOTS, { recursive: true });
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ARGS });
let users = 0;
/** The contexts that a story opened. */
const opened = new AsyncLocalStorage();

/** A page of the shop, with what the widget told it and what broke on it. */
export async function visit({ query = "", shop = SHOP, context: options = {}, before } = {}) {
  const context = await browser.newContext({ locale: "en-US", ...options });
  opened.getStore().push(context);
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  const broken = [];
  page.on("pageerror", (error) => broken.push(String(error)));
  page.on("console", (line) => {
    if (line.type() === "error" && !/status of (4|5)\d\d/.test(line.text())) broken.push(line.text());
  });
  if (before) await before(context, page);
  await page.goto(shop + query);
  const email = `user${(users += 1)}@example.com`;
  return { context, page, broken, email, frame: page.frameLocator("opencredits-checkout iframe") };
}

export const told = ({ page }) =>
  page.locator("#told li").evaluateAll((lines) => lines.map((line) => line.textContent));
export const names = async (visitor) => (await told(visitor)).map((line) => line.split(" ")[0]);
export const count = async (visitor, name) => (await names(visitor)).filter((one) => one === name).length;
export const until = (visitor, name) =>
  visitor.page.locator("#told li", { hasText: new RegExp(`^${name} `) }).first().waitFor();
export const on = ({ frame }, id) => frame.getByTestId(id);
export const press = (visitor, id) => on(visitor, id).click();
export const screen = (visitor, name) => on(visitor, `screen-${name}`).waitFor();

export async function code(email) {
  const answer = await fetch(`${BASE}/dev/mailbox?email=${email}`);
  return (await answer.json()).messages[0].subject.split(" ")[0];
}

export async function logIn(visitor) {
  await on(visitor, "email").fill(visitor.email);
  await press(visitor, "continue");
  await on(visitor, "code").fill(await (await screen(visitor, "code"), code(visitor.email)));
  await press(visitor, "continue");
}

export async function open(visitor, amount = "amount-25") {
  await visitor.page.click("#buy");
  await on(visitor, amount).check();
  await press(visitor, "continue");
}

/** The card form of the simulated Stripe, in its frame or on its page. */
export async function card(at, number) {
  await at.getByTestId("card-number").fill(number);
  await at.getByTestId("card-expiry").fill("12/40");
  await at.getByTestId("card-cvc").fill("123");
  await at.getByTestId("card-pay").click();
}

export const stripe = (visitor) => visitor.frame.frameLocator("#payment iframe");
export const control = (what, fields) =>
  fetch(`${SIM}/_sim/${what}`, { method: "POST", body: JSON.stringify(fields) });

export async function sessionOf(visitor) {
  const line = (await told(visitor)).findLast((one) => one.startsWith("onCheckoutOpened"));
  return JSON.parse(line.slice(line.indexOf("{"))).session_id;
}

/** Takes a picture and asks axe about the frame, or about a page that has none. */
export async function look(visitor, name) {
  const frames = visitor.page.frames();
  const frame = frames.find((one) => one.url().includes("/checkout/frame")) ?? frames[0];
  await frame.evaluate(AXE);
  const { violations } = await frame.evaluate(() => window.axe.run(document, { iframes: false }));
  const what = violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(" ")}`);
  await visitor.page.screenshot({ path: `${SHOTS}/${name}.png` });
  assert.deepEqual(what, [], `axe at ${name}`);
}

export async function buy(visitor) {
  await open(visitor);
  await logIn(visitor);
  await card(stripe(visitor), GOOD);
  await screen(visitor, "success");
}

let failed = 0;

/** Tells the stories, prints `ok <story>` for each, and ends: with 1 if one failed. */
export async function play(all) {
  const only = process.env.ONLY?.split(",");
  const queue = Object.entries(all).filter(([name]) => !only || only.includes(name));
  // A few at a time: they share two cores with all other tests.
  await Promise.all([1, 2, 3].map(async () => {
    for (let next = queue.shift(); next; next = queue.shift()) await tell(...next);
  }));
  await browser.close();
  process.exit(failed === 0 ? 0 : 1);
}

async function tell(name, story) {
  const started = Date.now();
  const contexts = [];
  try {
    const visitor = await opened.run(contexts, story);
    assert.deepEqual(visitor?.broken ?? [], [], "nothing breaks on the page");
    console.log(`ok ${name} ${Date.now() - started} ms`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}: ${error.stack}`);
    const pages = contexts.flatMap((context) => context.pages());
    for (const [at, page] of pages.entries()) {
      await page.screenshot({ path: `${SHOTS}/failed-${name}-${at}.png` }).catch(() => {});
    }
  }
  await Promise.all(contexts.map((context) => context.close()));
}
