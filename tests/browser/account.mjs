// The account page in a real browser.

import assert from "node:assert/strict";

import { buy, code, look, names, play, press, until, visit } from "./stage.mjs";

const { BASE } = process.env;
const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };

const at = ({ page }, id) => page.getByTestId(id);
const screen = (visitor, name) => at(visitor, `screen-${name}`).waitFor();

/** Somebody who bought in the shop, and the account page that they open next. */
async function buyer(options) {
  const shop = await visit();
  await buy(shop);
  await press(shop, "done");
  await until(shop, "onComplete");
  const visitor = await visit({ shop: `${BASE}/account`, context: options });
  return { shop, visitor: { ...visitor, email: shop.email } };
}

async function logIn(visitor) {
  await screen(visitor, "email");
  await at(visitor, "email").fill(visitor.email);
  await at(visitor, "continue").click();
  await screen(visitor, "code");
  await at(visitor, "code").fill(await code(visitor.email));
  await at(visitor, "continue").click();
  await screen(visitor, "account");
}

const STORIES = {
  async a_key_is_seen_and_revoked() {
    const { shop, visitor } = await buyer();
    await look(visitor, "account-email");
    await logIn(visitor);
    await visitor.page.getByRole("heading", { name: "2,500 credits" }).waitFor();
    await visitor.page.getByRole("heading", { name: "shop" }).waitFor();
    await visitor.page.getByText(/used .* from http:\/\/127\.0\.0\.1:\d+/).waitFor();
    await visitor.page.getByRole("row", { name: /Purchase 2,500/ }).waitFor();
    await look(visitor, "account");
    assert.equal(visitor.page.url(), `${BASE}/account`, "nothing secret is in the address");
    assert.deepEqual(await visitor.context.cookies(), []);
    await visitor.page.getByRole("button", { name: /^Revoke the key of shop/ }).click();
    await visitor.page.getByText("The key of shop is good no more.").waitFor();
    await visitor.page.getByText("No app may spend your credits.").waitFor();
    await look(visitor, "account-revoked");
    await shop.page.click("#buy");
    await until(shop, "onLoggedOut");
    return visitor;
  },

  async a_reload_logs_out_and_so_does_the_button() {
    const { visitor } = await buyer();
    await logIn(visitor);
    await visitor.page.reload();
    await screen(visitor, "email");
    const kept = await visitor.page.evaluate(() => localStorage.length + sessionStorage.length);
    assert.equal(kept, 0, "the token is in memory only");
    await logIn(visitor);
    const seen = visitor.page.waitForRequest((request) => request.url().endsWith("/account/logout"));
    await at(visitor, "logout").click();
    const token = (await seen).headers()["x-account-token"];
    await screen(visitor, "email");
    const again = await fetch(`${BASE}/account/me`, { headers: { "x-account-token": token } });
    assert.equal(again.status, 401);
    return visitor;
  },

  async by_keyboard_with_a_wrong_code_first() {
    const { visitor } = await buyer();
    const { keyboard } = visitor.page;
    await screen(visitor, "email");
    await keyboard.type(visitor.email);
    await keyboard.press("Enter");
    await screen(visitor, "code");
    const right = await code(visitor.email);
    await keyboard.type(right === "000000" ? "000001" : "000000");
    await keyboard.press("Enter");
    await visitor.page.getByRole("alert").filter({ hasText: "That is not the code" }).waitFor();
    await look(visitor, "account-wrong-code");
    await at(visitor, "code").fill("");
    await keyboard.type(right);
    await keyboard.press("Enter");
    await screen(visitor, "account");
    await keyboard.press("Tab");
    assert.equal(await visitor.page.evaluate(() => document.activeElement.dataset.testid), "revoke");
    await keyboard.press("Enter");
    await visitor.page.getByText("No app may spend your credits.").waitFor();
    return visitor;
  },

  async on_a_phone_in_the_dark() {
    const { visitor } = await buyer({ ...PHONE, colorScheme: "dark", locale: "de-DE" });
    await logIn(visitor);
    await visitor.page.getByRole("heading", { name: "2.500 Credits" }).waitFor();
    await look(visitor, "account-phone");
    const small = await visitor.page.locator("button").evaluateAll((all) =>
      all.filter((one) => one.getBoundingClientRect().height < 44).length);
    assert.equal(small, 0, "nothing is too small for a thumb");
    const outside = await visitor.page.locator(".key button").evaluateAll((all) => all.filter((one) =>
      one.getBoundingClientRect().right > one.closest("section").getBoundingClientRect().right).length);
    assert.equal(outside, 0, "nothing sticks out of its box");
    const wide = await visitor.page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= 390, `${wide} px are wider than the phone`);
    return visitor;
  },

  async in_other_languages() {
    for (const [locale, title] of [["fr-FR", "Votre compte"], ["es-ES", "Tu cuenta"]]) {
      const visitor = await visit({ shop: `${BASE}/account`, context: { locale } });
      await visitor.page.getByRole("heading", { name: title }).waitFor();
      await look(visitor, `account-${locale}`);
      assert.deepEqual(visitor.broken, []);
    }
  },

  async another_page_may_not_ask() {
    const { shop, visitor } = await buyer();
    await screen(visitor, "email");
    const said = await shop.page.evaluate(async (base) => {
      const headers = { "content-type": "application/json" };
      const body = JSON.stringify({ email: "a@example.com" });
      const answer = await fetch(`${base}/account/login`, { method: "POST", headers, body });
      return (await answer.json()).error.type;
    }, BASE);
    assert.equal(said, "origin_not_allowed");
    assert.ok((await names(shop)).includes("onPurchaseCompleted"));
    return visitor;
  },
};

await play(STORIES);
