// When each callback fires, and when it does not: what the other stories of the checkout do not show by the way.

import assert from "node:assert/strict";

import {
  GOOD, buy, card, code, control, count, logIn, look, names, on, open, play, press, screen, sessionOf, stripe,
  told, until, visit,
} from "./stage.mjs";

const errors = async (visitor, name) => (await told(visitor))
  .filter((line) => line.startsWith(`${name} `))
  .map((line) => JSON.parse(line.slice(name.length + 1)).error.code);

/** So many lines about a callback. */
const nth = (visitor, name, times) => visitor.page.locator("#told li", { hasText: new RegExp(`^${name} `) })
  .nth(times - 1).waitFor();

const STORIES = {
  async a_callback_that_throws_stops_nothing_and_reaches_the_pages_own_reporter() {
    const visitor = await visit();
    await visitor.page.evaluate(() => {
      const { key } = document.body.dataset;
      window.fired = [];
      OpenCredits.init({
        publishableKey: key,
        onLoginCompleted({ user_key }) {
          const kept = localStorage.getItem(`opencredits:${key}:user_key`);
          window.fired.push(kept === user_key && OpenCredits.getUserKey() === user_key);
          throw new Error("the page's own mistake");
        },
        onCheckoutOpened: ({ user_key }) => window.fired.push(user_key === OpenCredits.getUserKey()),
      });
    });
    await open(visitor);
    await logIn(visitor);
    await stripe(visitor).getByTestId("card-number").waitFor();
    assert.deepEqual(await visitor.page.evaluate(() => window.fired), [true, true], "kept before it is told");
    assert.equal(visitor.broken.length, 1);
    assert.match(visitor.broken[0], /the page's own mistake/);
  },

  async init_fires_nothing_by_itself_and_replaces_the_options_of_an_open_dialog() {
    const visitor = await visit();
    await buy(visitor);
    await press(visitor, "done");
    await visitor.page.click("#buy");
    await screen(visitor, "amount");
    const fired = await visitor.page.evaluate(() => {
      window.fired = [];
      const note = (name) => () => window.fired.push(name);
      OpenCredits.init({
        publishableKey: document.body.dataset.key, onLoggedOut: note("onLoggedOut"),
        onLoginCompleted: note("onLoginCompleted"), onPurchaseCompleted: note("onPurchaseCompleted"),
      });
      return window.fired.length;
    });
    assert.equal(fired, 0);
    assert.equal(await visitor.page.locator("opencredits-checkout").count(), 1);
    await press(visitor, "logout");
    await visitor.page.waitForFunction(() => window.fired.length > 0);
    assert.deepEqual(await visitor.page.evaluate(() => window.fired), ["onLoggedOut"]);
    assert.equal(await count(visitor, "onLoggedOut"), 0, "the former callbacks are gone");
    return visitor;
  },

  async a_callback_may_open_and_close() {
    const visitor = await visit();
    await visitor.page.evaluate(() => {
      window.fired = [];
      OpenCredits.init({
        publishableKey: document.body.dataset.key,
        onPurchaseCompleted() {
          window.fired.push("onPurchaseCompleted");
          OpenCredits.close();
          OpenCredits.open({ amount: 10 });
        },
        onComplete: () => window.fired.push("onComplete"),
      });
    });
    await open(visitor);
    await logIn(visitor);
    await card(stripe(visitor), GOOD);
    await screen(visitor, "confirm");
    const fired = await visitor.page.evaluate(() => window.fired);
    assert.deepEqual(fired, ["onPurchaseCompleted"], "the page's own close() completes nothing");
    return visitor;
  },

  async each_way_out_of_success_completes_once() {
    const ways = {
      close: (visitor) => press(visitor, "close"),
      backdrop: (visitor) => visitor.page.mouse.click(5, 5),
      escape: (visitor) => visitor.page.keyboard.press("Escape"),
    };
    for (const [name, leave] of Object.entries(ways)) {
      const visitor = await visit();
      await buy(visitor);
      await leave(visitor);
      await until(visitor, "onComplete");
      assert.equal(await visitor.page.locator("opencredits-checkout").count(), 0, name);
      assert.deepEqual((await names(visitor)).slice(-2), ["onPurchaseCompleted", "onComplete"], name);
      const [bought, completed] = (await told(visitor)).slice(-2).map((line) => line.replace(/^\S+ /, ""));
      assert.equal(completed, bought);
      assert.match(bought, /"balance":2500,"credits_added":2500/);
      await visitor.context.close();
    }
  },

  async a_bad_amount_is_told_to_the_page_and_asked_anew() {
    for (const amount of [NaN, 0, -1, 1.001, "ten", 0.5, 500.01]) {
      const visitor = await visit();
      await visitor.page.evaluate((amount) => OpenCredits.open({ amount }), amount);
      await screen(visitor, "amount");
      await visitor.frame.getByRole("alert").filter({ hasText: "between $1 and $500" }).waitFor();
      assert.deepEqual(await errors(visitor, "onError"), ["invalid_amount"], String(amount));
      await visitor.context.close();
    }
    const visitor = await visit();
    const said = await visitor.page.evaluate(() => new Promise((resolve) => {
      const publishableKey = document.body.dataset.key;
      OpenCredits.init({ publishableKey, onError: ({ error }) => resolve([`${error}`, error.message, error.retryable]) });
      OpenCredits.open({ amount: -1 });
    }));
    assert.equal(said[0], said[1]);
    assert.equal(said[2], false);
    return visitor;
  },

  async another_amount_changes_the_open_dialog() {
    const visitor = await visit();
    await visitor.page.evaluate(() => OpenCredits.open());
    await screen(visitor, "amount");
    await visitor.page.evaluate(() => OpenCredits.open({ amount: 12.5 }));
    await visitor.frame.getByTestId("amount-custom").waitFor();
    assert.equal(await on(visitor, "amount-custom").inputValue(), "12.5");
    assert.equal(await visitor.page.locator("opencredits-checkout").count(), 1);
    return visitor;
  },

  async each_session_is_told_once() {
    const visitor = await visit();
    await open(visitor);
    assert.deepEqual(await names(visitor), [], "not for opening, not for showing amounts");
    await logIn(visitor);
    await stripe(visitor).getByTestId("card-number").waitFor();
    assert.equal(await on(visitor, "logout").count(), 0, "nobody logs out while paying");
    const first = await sessionOf(visitor);
    await control("expire", { session: first });
    await visitor.frame.getByRole("alert").filter({ hasText: "not completed" }).waitFor();
    await on(visitor, "amount-10").check();
    await press(visitor, "continue");
    await nth(visitor, "onCheckoutOpened", 2);
    assert.notEqual(await sessionOf(visitor), first);
    assert.deepEqual(await names(visitor), ["onLoginCompleted", "onCheckoutOpened", "onCheckoutOpened"]);
    return visitor;
  },

  async a_session_that_is_not_made_is_an_error_and_no_checkout() {
    const visitor = await visit();
    await visitor.context.route("**/checkout/orders", (route) => route.fulfill({
      status: 502, json: { error: { type: "payment_unavailable", message: "no", code: "502" } },
    }), { times: 1 });
    await open(visitor);
    await logIn(visitor);
    await screen(visitor, "error");
    await look(visitor, "error");
    assert.deepEqual(await names(visitor), ["onLoginCompleted", "onError"]);
    assert.match((await told(visitor))[1], /"code":"payment_unavailable","message":".+","retryable":true/);
    await press(visitor, "retry");
    await until(visitor, "onCheckoutOpened");
    return visitor;
  },

  async each_refusal_of_a_card_is_told_once_with_its_reason() {
    const visitor = await visit();
    await open(visitor);
    await logIn(visitor);
    const cards = { "4000000000009995": "insufficient_funds", "4000000000000069": "expired_card" };
    for (const [at, number] of Object.keys(cards).entries()) {
      await card(stripe(visitor), number);
      await nth(visitor, "onPurchaseError", at + 1);
    }
    await card(stripe(visitor), "4000002500003155");
    await stripe(visitor).getByTestId("threeds-fail").click();
    await nth(visitor, "onError", 3);
    const reasons = [...Object.values(cards), "authentication_failed"];
    assert.deepEqual(await errors(visitor, "onPurchaseError"), reasons);
    assert.deepEqual(await errors(visitor, "onError"), reasons, "and each is an error as well");
    await press(visitor, "close");
    await visitor.page.locator("opencredits-checkout").waitFor({ state: "detached" });
    assert.equal(await count(visitor, "onPurchaseError"), 3, "closing is none");
    return visitor;
  },

  async a_bank_debit_that_fails_is_told_when_it_does() {
    const visitor = await visit();
    await open(visitor);
    await logIn(visitor);
    await stripe(visitor).getByTestId("bank-pay").click();
    await screen(visitor, "delayed");
    await control("bank", { session: await sessionOf(visitor), succeeded: false });
    await until(visitor, "onPurchaseError");
    await screen(visitor, "amount");
    assert.deepEqual(await errors(visitor, "onPurchaseError"), ["async_failed"]);
    assert.equal(await count(visitor, "onPurchaseCompleted"), 0);
    return visitor;
  },

  async a_wrong_code_is_between_the_frame_and_the_user() {
    const visitor = await visit();
    await open(visitor);
    await on(visitor, "email").fill(visitor.email);
    await press(visitor, "continue");
    await screen(visitor, "code");
    const right = await code(visitor.email);
    await on(visitor, "code").fill(right === "000000" ? "000001" : "000000");
    await press(visitor, "continue");
    await visitor.frame.getByRole("alert").filter({ hasText: "That is not the code" }).waitFor();
    await look(visitor, "wrong-code");
    assert.deepEqual(await names(visitor), []);
    return visitor;
  },

  async too_many_codes_are_an_error() {
    const visitor = await visit();
    await open(visitor);
    for (let sent = 0; sent < 3; sent += 1) {
      await on(visitor, "email").fill(visitor.email);
      await press(visitor, "continue");
      await press(visitor, "again");
    }
    await press(visitor, "continue");
    await until(visitor, "onError");
    assert.deepEqual(await errors(visitor, "onError"), ["rate_limited"]);
    await visitor.frame.getByRole("alert").filter({ hasText: "Too many attempts" }).waitFor();
    return visitor;
  },

  async a_frame_that_does_not_load_is_an_error_and_can_be_tried_again() {
    let down = true;
    const visitor = await visit({
      before: (context) => context.route("**/checkout/frame?*", (route) => (down ? route.abort() : route.continue())),
    });
    await visitor.page.click("#buy");
    await until(visitor, "onError");
    assert.deepEqual(await errors(visitor, "onError"), ["load_failed"]);
    down = false;
    await visitor.page.getByRole("button", { name: "Retry" }).click();
    await screen(visitor, "amount");
    return { ...visitor, broken: [] };
  },

  async a_line_that_is_down_is_told_once_each_time() {
    const visitor = await visit({ query: "?checkoutMode=new_tab" });
    await open(visitor);
    await logIn(visitor);
    const [tab] = await Promise.all([visitor.context.waitForEvent("page"), press(visitor, "pay")]);
    await screen(visitor, "waiting");
    const polls = "**/checkout/orders/*";
    for (const outage of [1, 2]) {
      let failed = 0;
      await visitor.context.route(polls, (route) => {
        failed += 1;
        return route.abort();
      });
      await nth(visitor, "onError", outage);
      while (failed < 3) await visitor.page.waitForEvent("requestfailed");
      const seen = visitor.page.waitForResponse((answer) => answer.url().includes("/checkout/orders/"));
      await visitor.context.unroute(polls);
      await seen;
      assert.equal(await count(visitor, "onError"), outage);
    }
    await card(tab, GOOD);
    await screen(visitor, "success");
    assert.deepEqual(await errors(visitor, "onError"), ["network", "network"]);
    return { ...visitor, broken: [] };
  },

  async logging_out_works_without_the_server() {
    const visitor = await visit();
    await buy(visitor);
    await press(visitor, "done");
    await visitor.page.click("#buy");
    await visitor.context.route("**/checkout/logout", (route) => route.abort());
    await press(visitor, "logout");
    await until(visitor, "onLoggedOut");
    assert.equal(await visitor.page.evaluate(() => OpenCredits.getUserKey()), null);
    return { ...visitor, broken: [] };
  },
};

await play(STORIES);
