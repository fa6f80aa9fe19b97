// The checkout in a real browser.
// Environment, beyond that of stage.mjs: OTHER_SHOP (another partner's page), STRICT_SHOP (a partner's that lists
// other origins).

import assert from "node:assert/strict";

import {
  GOOD, buy, card, code, control, count, logIn, look, names, on, open,
  play, press, screen, sessionOf, stripe, told, until, visit,
} from "./stage.mjs";

const { BASE, OTHER_SHOP, SHOP, SIM, STRICT_SHOP } = process.env;

/** The account as the gateway shows it to the page's key. */
async function me(visitor) {
  const key = await visitor.page.evaluate(() => OpenCredits.getUserKey());
  return (await fetch(`${BASE}/checkout/me`, { headers: { "x-user-key": key } })).json();
}

async function eventually(check) {
  for (let tries = 0; tries < 150; tries += 1) {
    if (await check()) return;
    await new Promise((done) => { setTimeout(done, 100); });
  }
  assert.fail(`never: ${check}`);
}

const STORIES = {
  async embedded() {
    const visitor = await visit();
    await visitor.page.click("#buy");
    await screen(visitor, "amount");
    await look(visitor, "amount");
    await on(visitor, "amount-25").check();
    await visitor.frame.getByText(/About .* requests with/).waitFor();
    await press(visitor, "continue");
    await screen(visitor, "email");
    await look(visitor, "email");
    await logIn(visitor);
    await stripe(visitor).getByTestId("card-number").waitFor();
    await look(visitor, "paying");
    await card(stripe(visitor), GOOD);
    await screen(visitor, "success");
    await visitor.frame.getByText("2,500 credits added").waitFor();
    await look(visitor, "success");
    assert.deepEqual(await names(visitor), ["onLoginCompleted", "onCheckoutOpened", "onPurchaseCompleted"]);
    await press(visitor, "done");
    await until(visitor, "onComplete");
    assert.equal(await visitor.page.locator("opencredits-checkout").count(), 0);
    assert.equal(await visitor.page.evaluate(() => document.activeElement.id), "buy");
    await visitor.page.getByText("2500 credits").waitFor();
    await visitor.page.getByRole("button", { name: "Send" }).click();
    await visitor.page.getByText("The quick brown fox").waitFor();
    assert.match(await visitor.page.locator("#balance").textContent(), /credits/);
    return visitor;
  },

  async new_tab() {
    const visitor = await visit({ query: "?checkoutMode=new_tab" });
    await open(visitor);
    await logIn(visitor);
    await screen(visitor, "pay");
    await look(visitor, "pay");
    const [tab] = await Promise.all([visitor.context.waitForEvent("page"), press(visitor, "pay")]);
    await screen(visitor, "waiting");
    await look(visitor, "waiting");
    await card(tab, GOOD);
    await tab.getByText("You can close this tab").waitFor();
    await screen(visitor, "success");
    assert.match((await told(visitor))[1], /checkout_url/);
    return visitor;
  },

  async manual() {
    const visitor = await visit({ query: "?checkoutMode=manual" });
    await open(visitor);
    await logIn(visitor);
    await screen(visitor, "waiting");
    const line = (await told(visitor)).find((one) => one.startsWith("onCheckoutOpened"));
    const { checkout_url } = JSON.parse(line.slice(line.indexOf("{")));
    const tab = await visitor.context.newPage();
    await tab.goto(checkout_url);
    await card(tab, GOOD);
    await screen(visitor, "success");
    await press(visitor, "done");
    // With an amount and a key there is nothing to ask: no dialog at all.
    await visitor.page.click("#buy10");
    await visitor.page.locator("#told li", { hasText: "onCheckoutOpened" }).nth(1).waitFor();
    assert.equal(await visitor.page.locator("opencredits-checkout").count(), 0);
    await tab.goto(JSON.parse((await told(visitor)).at(-1).replace(/^\S+ /, "")).checkout_url);
    await card(tab, GOOD);
    await visitor.page.locator("#told li", { hasText: "onPurchaseCompleted" }).nth(1).waitFor();
    assert.equal(await count(visitor, "onComplete"), 1);
    return visitor;
  },

  async decline_then_success() {
    const visitor = await visit();
    await open(visitor);
    await logIn(visitor);
    await card(stripe(visitor), "4000000000000002");
    await stripe(visitor).getByText("Your card was declined.").waitFor();
    await until(visitor, "onPurchaseError");
    await card(stripe(visitor), GOOD);
    await screen(visitor, "success");
    const rest = (await names(visitor)).slice(2);
    assert.deepEqual(rest, ["onPurchaseError", "onError", "onPurchaseCompleted"]);
    assert.match((await told(visitor))[2], /"code":"card_declined"/);
    return visitor;
  },

  async three_d_secure() {
    const visitor = await visit();
    await open(visitor);
    await logIn(visitor);
    await card(stripe(visitor), "4000002500003155");
    await stripe(visitor).getByTestId("threeds-fail").click();
    await until(visitor, "onPurchaseError");
    await card(stripe(visitor), "4000002500003155");
    await stripe(visitor).getByTestId("threeds-complete").click();
    await screen(visitor, "success");
    return visitor;
  },

  async logged_in_and_out() {
    const visitor = await visit();
    await buy(visitor);
    await press(visitor, "done");
    await visitor.page.reload();
    await visitor.page.click("#buy");
    await visitor.frame.getByText("u•••@example.com").waitFor();
    await look(visitor, "logged-in");
    assert.deepEqual(await names(visitor), [], "nothing fires for a key that is kept");
    await press(visitor, "logout");
    await until(visitor, "onLoggedOut");
    assert.equal(await visitor.page.evaluate(() => OpenCredits.getUserKey()), null);
    await on(visitor, "amount-5").check();
    await press(visitor, "continue");
    await screen(visitor, "email");
    return visitor;
  },

  async revoked_key() {
    const visitor = await visit();
    await visitor.page.evaluate(() => {
      localStorage.setItem(`opencredits:${document.body.dataset.key}:user_key`, "oc_sk_garbage");
    });
    await visitor.page.click("#buy");
    await until(visitor, "onLoggedOut");
    await screen(visitor, "amount");
    assert.equal(await visitor.page.evaluate(() => OpenCredits.getUserKey()), null);
    return visitor;
  },

  async reload_during_payment() {
    const visitor = await visit({ query: "?checkoutMode=new_tab" });
    await open(visitor);
    await logIn(visitor);
    const [tab] = await Promise.all([visitor.context.waitForEvent("page"), press(visitor, "pay")]);
    await screen(visitor, "waiting");
    await visitor.page.reload();
    await card(tab, GOOD);
    await until(visitor, "onPurchaseCompleted");
    await visitor.page.reload();
    await visitor.page.waitForTimeout(2500);
    assert.deepEqual(await names(visitor), [], "and never again");
    return visitor;
  },

  async close_during_payment() {
    const visitor = await visit();
    await open(visitor);
    await logIn(visitor);
    await stripe(visitor).getByTestId("card-number").waitFor();
    const session = await sessionOf(visitor);
    await press(visitor, "close");
    await visitor.page.locator("opencredits-checkout").waitFor({ state: "detached" });
    const page = await visitor.context.newPage();
    await page.waitForFunction(
      async ([sim, id]) => (await (await fetch(`${sim}/c/pay/${id}`)).text()).includes('status="expired"'),
      [SIM, session],
    ).catch(() => {});
    await page.goto(`${SIM}/c/pay/${session}`);
    await page.getByText("This session is expired.").waitFor();
    assert.deepEqual((await names(visitor)).slice(2), [], "silent");
    return visitor;
  },

  async close_while_paying_elsewhere() {
    const visitor = await visit({ query: "?checkoutMode=new_tab" });
    await open(visitor);
    await logIn(visitor);
    const [tab] = await Promise.all([visitor.context.waitForEvent("page"), press(visitor, "pay")]);
    await screen(visitor, "waiting");
    await visitor.page.evaluate(() => OpenCredits.close());
    await card(tab, GOOD);
    await until(visitor, "onPurchaseCompleted");
    assert.equal(await count(visitor, "onComplete"), 0);
    return visitor;
  },

  async double_click() {
    const visitor = await visit();
    await open(visitor, "amount-10");
    await on(visitor, "email").fill(visitor.email);
    await on(visitor, "continue").dblclick();
    await screen(visitor, "code");
    await on(visitor, "code").fill(await code(visitor.email));
    await on(visitor, "continue").dblclick();
    await card(stripe(visitor), GOOD);
    await screen(visitor, "success");
    const once = ["onLoginCompleted", "onCheckoutOpened", "onPurchaseCompleted"];
    assert.deepEqual(await names(visitor), once);
    return visitor;
  },

  async two_tabs() {
    const visitor = await visit({ query: "?checkoutMode=new_tab" });
    await open(visitor);
    await logIn(visitor);
    const [tab] = await Promise.all([visitor.context.waitForEvent("page"), press(visitor, "pay")]);
    const other = { ...visitor, page: await visitor.context.newPage() };
    await other.page.goto(`${SHOP}?checkoutMode=new_tab`);
    await visitor.page.evaluate(() => OpenCredits.close());
    await card(tab, GOOD);
    await until(visitor, "onPurchaseCompleted");
    await other.page.waitForTimeout(2500);
    assert.deepEqual(await names(other), [], "only the tab that opened it is told");
    await other.page.reload();
    await other.page.locator("#balance", { hasText: "2500" }).waitFor();
    return visitor;
  },

  async keyboard_only() {
    const visitor = await visit();
    const { keyboard } = visitor.page;
    await visitor.page.focus("#buy");
    await keyboard.press("Enter");
    await screen(visitor, "amount");
    await keyboard.press("Tab");
    await keyboard.press("Space");
    await keyboard.press("ArrowDown");
    assert.equal(await on(visitor, "amount-10").isChecked(), true);
    await keyboard.press("Enter");
    await screen(visitor, "email");
    await keyboard.type(visitor.email);
    await keyboard.press("Enter");
    await screen(visitor, "code");
    await keyboard.type(await code(visitor.email));
    await keyboard.press("Enter");
    await screen(visitor, "paying");
    await stripe(visitor).getByTestId("card-number").focus();
    await keyboard.type(GOOD);
    await keyboard.press("Enter");
    await screen(visitor, "success");
    await keyboard.press("Escape");
    await until(visitor, "onComplete");
    assert.equal(await visitor.page.evaluate(() => document.activeElement.id), "buy");
    return visitor;
  },

  async phone() {
    const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };
    const visitor = await visit({ query: "?locale=de", context: { ...phone, colorScheme: "dark" } });
    await visitor.page.click("#buy");
    await screen(visitor, "amount");
    await look(visitor, "phone-amount");
    const box = await visitor.page.locator("opencredits-checkout dialog").boundingBox();
    assert.deepEqual([box.width, box.height], [390, 844]);
    const small = await visitor.frame.locator("button, .amounts label, .field input").evaluateAll((all) =>
      all.filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 44).length);
    assert.equal(small, 0, "nothing is too small for a thumb");
    await on(visitor, "amount-other").check();
    await on(visitor, "amount-custom").fill("12,50");
    await press(visitor, "continue");
    await logIn(visitor);
    await card(stripe(visitor), GOOD);
    await screen(visitor, "success");
    await look(visitor, "phone-success");
    return visitor;
  },

  async dark_and_other_languages() {
    for (const [locale, title] of [["fr", "Acheter des crédits IA"], ["es", "Comprar créditos de IA"]]) {
      const visitor = await visit({ query: `?locale=${locale}`, context: { colorScheme: "dark", reducedMotion: "reduce" } });
      await visitor.page.click("#buy");
      await visitor.frame.getByRole("heading", { name: title }).waitFor();
      await look(visitor, `dark-${locale}`);
      await visitor.context.close();
    }
  },

  async blocked_storage() {
    const visitor = await visit({
      before: (context) => context.addInitScript(() => {
        for (const name of ["localStorage", "sessionStorage"]) {
          Object.defineProperty(window, name, { get: () => { throw new DOMException("blocked", "SecurityError"); } });
        }
      }),
    });
    await buy(visitor);
    await press(visitor, "done");
    await until(visitor, "onComplete");
    assert.match(await visitor.page.evaluate(() => OpenCredits.getUserKey()), /^oc_sk_/);
    return visitor;
  },

  async blocked_popup() {
    const visitor = await visit({
      query: "?checkoutMode=new_tab",
      before: (context) => context.addInitScript(() => { window.open = () => null; }),
    });
    await open(visitor);
    await logIn(visitor);
    await press(visitor, "pay");
    await screen(visitor, "waiting");
    await visitor.frame.getByText("blocked the new tab").waitFor();
    const [tab] = await Promise.all([visitor.context.waitForEvent("page"), press(visitor, "open-again")]);
    await card(tab, GOOD);
    await screen(visitor, "success");
    return visitor;
  },

  async out_of_credits() {
    const visitor = await visit();
    await open(visitor);
    await logIn(visitor);
    await stripe(visitor).getByTestId("card-number").waitFor();
    await press(visitor, "close");
    await visitor.page.getByText("0 credits", { exact: true }).waitFor();
    await visitor.page.getByRole("button", { name: "Send" }).click();
    await screen(visitor, "amount");
    return { ...visitor, broken: [] };
  },

  async another_app_asks_for_consent() {
    const visitor = await visit();
    await buy(visitor);
    await visitor.page.goto(OTHER_SHOP);
    await open(visitor, "amount-5");
    await logIn(visitor);
    await screen(visitor, "consent");
    await visitor.frame.getByText("You have 2,500 credits from elsewhere").waitFor();
    await look(visitor, "consent");
    await on(visitor, "limit").fill("1.5x");
    await press(visitor, "continue");
    await visitor.frame.getByRole("alert").filter({ hasText: "dollars" }).waitFor();
    await on(visitor, "limit").fill("2");
    await press(visitor, "continue");
    await stripe(visitor).getByTestId("card-number").waitFor();
    await press(visitor, "close");
    await visitor.page.getByRole("button", { name: "Send" }).click();
    await visitor.page.getByText("The quick brown fox").waitFor();
    return visitor;
  },

  async auto_top_up() {
    const visitor = await visit();
    await visitor.page.click("#buy");
    await on(visitor, "amount-5").check();
    assert.equal(await on(visitor, "top-up").isChecked(), false, "nobody is talked into it");
    await look(visitor, "top-up-offered");
    await on(visitor, "top-up").check();
    assert.equal(await on(visitor, "threshold").inputValue(), "100");
    assert.equal(await on(visitor, "monthly_cap").inputValue(), "20");
    await look(visitor, "top-up-terms");
    await on(visitor, "threshold").fill("501");
    await press(visitor, "continue");
    await visitor.frame.getByRole("alert").filter({ hasText: "fewer credits than $5" }).waitFor();
    await on(visitor, "threshold").fill("500");
    await press(visitor, "continue");
    await logIn(visitor);
    await card(stripe(visitor), GOOD);
    await screen(visitor, "success");
    await visitor.frame.getByText("Tops up by $5 when fewer than 500 credits are left").waitFor();
    await look(visitor, "top-up-success");
    await press(visitor, "done");
    await eventually(async () => (await me(visitor)).top_up?.on);
    await visitor.page.getByRole("button", { name: "Send" }).click();
    await visitor.page.getByText("The quick brown fox").waitFor();
    await eventually(async () => (await me(visitor)).balance > 900);
    // The page that is loaded anew has the key and no login: enough to see it and to end it.
    await visitor.page.reload();
    await visitor.page.click("#buy");
    await on(visitor, "top-up-state").waitFor();
    assert.equal(await on(visitor, "top-up").count(), 0);
    await look(visitor, "top-up-on");
    await press(visitor, "top-up-off");
    await on(visitor, "top-up").waitFor();
    assert.equal(await on(visitor, "top-up-state").count(), 0);
    // Not enough to begin it again: that takes a login.
    await on(visitor, "amount-5").check();
    await on(visitor, "top-up").check();
    await press(visitor, "continue");
    await screen(visitor, "email");
    return visitor;
  },

  async auto_top_up_that_the_bank_ends() {
    const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };
    const visitor = await visit({ context: phone, query: "?locale=de" });
    await visitor.page.click("#buy");
    await on(visitor, "amount-5").check();
    await on(visitor, "top-up").check();
    await on(visitor, "threshold").fill("500");
    await look(visitor, "phone-top-up-terms");
    const small = await visitor.frame.locator("button, label.check, .field input").evaluateAll((all) =>
      all.filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 44).length);
    assert.equal(small, 0, "nothing is too small for a thumb");
    await press(visitor, "continue");
    await logIn(visitor);
    await card(stripe(visitor), "4000002760003184");
    await stripe(visitor).getByTestId("threeds-complete").click();
    await screen(visitor, "success");
    await press(visitor, "done");
    await eventually(async () => (await me(visitor)).top_up?.on);
    await visitor.page.getByRole("button", { name: "Send" }).click();
    await visitor.page.getByText("The quick brown fox").waitFor();
    await eventually(async () => (await me(visitor)).top_up?.ended === "authentication");
    await visitor.page.reload();
    await visitor.page.click("#buy");
    await visitor.frame.getByText("Das automatische Aufladen ist aus: Ihre Bank").waitFor();
    await look(visitor, "phone-top-up-ended");
    return visitor;
  },

  async hostile_messages() {
    const visitor = await visit();
    await visitor.page.click("#buy");
    await screen(visitor, "amount");
    await visitor.page.evaluate(() => {
      const forged = [
        { t: "purchased", order: "ord_1", user_key: "oc_sk_x", balance: 1, credits_added: 1 },
        { t: "login", user_key: "oc_sk_evil", balance: 1 },
        { t: "init", v: 1, nonce: "x", config: { pk: "x" } },
      ];
      const frame = document.querySelector("opencredits-checkout").shadowRoot.querySelector("iframe");
      for (const message of forged) {
        window.postMessage(message, "*");
        frame.contentWindow.postMessage(message, "*", message.t === "init" ? [new MessageChannel().port2] : []);
        frame.contentWindow.postMessage({ simulated_stripe: "complete" }, "*");
      }
    });
    await visitor.page.waitForTimeout(500);
    await screen(visitor, "amount");
    assert.deepEqual(await names(visitor), []);
    assert.equal(await visitor.page.evaluate(() => OpenCredits.getUserKey()), null);
    return visitor;
  },

  async wrong_origin() {
    const visitor = await visit({ shop: STRICT_SHOP });
    await visitor.page.click("#buy");
    await until(visitor, "onError");
    assert.match((await told(visitor))[0], /"code":"origin_not_allowed"/);
    assert.equal(await visitor.page.locator("opencredits-checkout").count(), 0);
    return { ...visitor, broken: [] };
  },

  async bad_options() {
    const visitor = await visit();
    const said = await visitor.page.evaluate(() => {
      const words = [];
      for (const options of [undefined, {}, { publishableKey: "pk_x" }, { publishableKey: "oc_pk_x", currency: "gbp" },
        { publishableKey: "oc_pk_x", checkoutMode: "popup" }, { publishableKey: "oc_pk_x", onError: 5 }]) {
        try {
          OpenCredits.init(options);
          words.push("nothing");
        } catch (error) {
          words.push(error.message);
        }
      }
      return words;
    });
    assert.equal(said.filter((one) => one.startsWith("OpenCredits.init(): ")).length, 6, said);
    const before = await visitor.page.evaluate(async () => {
      const again = document.createElement("script");
      again.src = document.querySelector("script[src*=sdk]").src;
      await new Promise((done) => { again.onload = done; document.head.append(again); });
      try {
        OpenCredits.open();
      } catch (error) {
        return error.message;
      }
    });
    assert.equal(before, "OpenCredits.init() must be called first");
    assert.equal(await visitor.page.locator("opencredits-checkout").count(), 0);
    return visitor;
  },

  async unknown_key() {
    const visitor = await visit({ query: `?publishableKey=oc_pk_${"0".repeat(72)}` });
    await visitor.page.click("#buy");
    await until(visitor, "onError");
    assert.match((await told(visitor))[0], /"code":"invalid_publishable_key"/);
    return { ...visitor, broken: [] };
  },

  async opened_and_closed_at_once() {
    const visitor = await visit();
    await visitor.page.evaluate(() => {
      OpenCredits.open();
      OpenCredits.close();
    });
    await visitor.page.waitForTimeout(200);
    assert.equal(await visitor.page.locator("opencredits-checkout").count(), 0);
    await visitor.page.evaluate(() => {
      OpenCredits.open({ amount: 10 });
      OpenCredits.open({ amount: 10 });
    });
    await screen(visitor, "confirm");
    await look(visitor, "confirm");
    assert.equal(await visitor.page.locator("opencredits-checkout").count(), 1);
    return visitor;
  },

  async bank_debit() {
    const visitor = await visit();
    await open(visitor);
    await logIn(visitor);
    const session = await (await stripe(visitor).getByTestId("bank-pay").waitFor(), sessionOf(visitor));
    await stripe(visitor).getByTestId("bank-pay").click();
    await screen(visitor, "delayed");
    await look(visitor, "delayed");
    assert.equal(await count(visitor, "onPurchaseCompleted"), 0);
    await control("bank", { session, succeeded: true });
    await screen(visitor, "success");
    return visitor;
  },
};

await play(STORIES);
