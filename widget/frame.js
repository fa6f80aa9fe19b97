// The checkout's frame: takes one message from the page that embeds it, leads through the screens, and
// tells the page over that message's port what happened.

import * as api from "./frame/api.js";
import * as payment from "./frame/payment.js";
import * as screens from "./frame/screens.js";
import { load } from "./frame/text.js";
import * as topUp from "./frame/top_up.js";

const { alertLine, button, field, form, heading, quiet, show, soft, statusLine } = screens;
const PK = new URLSearchParams(location.search).get("pk") ?? "";
const CODE = /^\d{6}$/;
/** After so long in `processing` the user is told that it may be closed. */
const PATIENCE_MS = 20_000;

/** @type {any} What the gateway and the page told. */ let config;
/** @type {any} What the page asked for. */ let asked;
/** @type {import("./frame/screens.js").Text} */ let text;
/** @type {MessagePort} */ let port;
/** @type {string | null} */ let userKey = null;
/** @type {any} The account as the gateway shows it. */ let account = null;
/** @type {number | null} */ let amount = null;
/** @type {topUp.Wish | null} */ let wished = null;
/** @type {any} The order under way. */ let order = null;
/** @type {() => void} */ let stopWatching = () => {};
let attempt = crypto.randomUUID();
let offline = false;

const tell = (/** @type {object} */ message) => port.postMessage(message);
/** Whether a page of this origin may embed the frame; a listed `:*` stands for any port. */
const listed = (/** @type {string} */ origin) =>
  config.origins.some((/** @type {string} */ allowed) => {
    const host = allowed.endsWith(":*") ? allowed.slice(0, -2) : null;
    return origin === (host ?? allowed) || (host !== null && origin.startsWith(`${host}:`) && /^\d+$/.test(origin.slice(host.length + 1)));
  });

/** Exactly one message is taken, and only from the page that embeds the frame. */
const init = new Promise((resolve) => {
  addEventListener("message", function listen(event) {
    const { t, v } = event.data ?? {};
    if (event.source !== parent || parent === window || t !== "init" || !event.ports[0]) return;
    removeEventListener("message", listen);
    resolve({ version: v, config: event.data.config, origin: event.origin, port: event.ports[0] });
  });
});

async function start() {
  const given = await init;
  ({ config: asked, port } = given);
  if (asked?.theme) document.documentElement.dataset.theme = asked.theme;
  text = await load(asked?.locale ?? null);
  closeButton.setAttribute("aria-label", text.say("close"));
  try {
    if (given.version !== 1) throw new api.CheckoutError("version", text.say("reload"), false);
    config = await api.config(PK);
    if (!listed(given.origin)) throw new api.CheckoutError("origin_not_allowed", text.say("bad_origin"), false);
    if (!config.currencies.includes(asked.currency)) throw new api.CheckoutError("bad_currency", text.say("bad_currency"), false);
  } catch (error) {
    tell({ t: "ready" });
    return stopped(error, start);
  }
  brand.textContent = text.say("brand", { app: config.partner.name });
  port.onmessage = ({ data }) => {
    if (data?.t === "amount" && typeof data.amount === "number" && order === null) preset(data.amount, amountScreen);
  };
  await restore(asked.userKey);
  tell({ t: "ready" });
  if (asked.amount === null) return amountScreen();
  preset(asked.amount, confirmScreen);
}

/** Takes an amount that the page asks for; one that is not sold is asked anew. */
function preset(/** @type {number} */ wanted, /** @type {() => void} */ shown) {
  const good = fits(wanted);
  amount = good ? wanted : null;
  // Of what is no amount at all the loader has told the page itself, and says 0 here.
  if (!good && wanted !== 0) report(new api.CheckoutError("invalid_amount", range(), false));
  if (good) shown();
  else amountScreen(range());
}

/** Takes over a key that the page kept, if it is still good. */
async function restore(/** @type {string | null} */ kept) {
  if (!kept) return;
  try {
    account = await api.me(kept);
    userKey = kept;
  } catch (error) {
    if (/** @type {any} */ (error).code !== "invalid_user_key") return;
    tell({ t: "logout" });
  }
}

// ---- The screens, in the order in which a newcomer sees them.

function bar(/** @type {() => void} */ again) {
  if (!userKey || !account) return null;
  const words = text.say("logged_in", {
    email: account.email ?? "", balance: text.number(Number(account.balance)),
  });
  const who = screens.make("div", { class: "bar" }, soft(words), quiet("logout", text.say("logout"), logout));
  const off = async () => {
    try {
      account = { ...account, ...(await api.topUpOff(/** @type {string} */ (userKey))) };
      again();
    } catch (error) {
      stopped(error, again);
    }
  };
  const inForce = topUp.state(text, account.top_up, off);
  return inForce ? screens.make("div", {}, who, inForce) : who;
}

/** The wish to be topped up, where that is not in force already. */
function wishing() {
  if (account?.top_up?.on) return null;
  const made = topUp.wishing(text, asked.currency, Number(config.credits_per_unit[asked.currency]), wished);
  made.suggest(amount);
  return made;
}

/** Takes the wish over; `false` where its terms cannot be. */
function wishes(/** @type {ReturnType<typeof wishing>} */ wish, /** @type {FormData} */ data, /** @type {HTMLElement} */ line) {
  const read = wish ? wish.read(data, Number(amount)) : null;
  if (read === undefined) line.textContent = text.say("top_up_bad", { amount: price() });
  else wished = read;
  return read !== undefined;
}

function amountScreen(problem = "") {
  const { set, box } = screens.amounts(text, config, asked.currency, amount);
  const line = alertLine(problem);
  const worth = soft("");
  const wish = wishing();
  /** @returns {number | null} */
  const written = (/** @type {FormData} */ data) => {
    const picked = data.get("amount");
    const value = String(picked === "other" ? data.get("other") : picked ?? "").trim();
    return /^\d+([.,]\d{1,2})?$/.test(value) ? Number(value.replace(",", ".")) : null;
  };
  set.addEventListener("change", () => estimate(worth, Number(new FormData(made).get("amount"))));
  const parts = [set, box, worth, ...(wish ? [wish.box] : []), line];
  const made = form(parts, text.say("continue"), async (data) => {
    const value = written(data);
    if (value === null || !fits(value)) {
      line.textContent = range();
      return;
    }
    amount = value;
    if (!wishes(wish, data, line)) return;
    attempt = crypto.randomUUID();
    await next();
  });
  made.addEventListener("input", () => wish?.suggest(written(new FormData(made))));
  show("amount", [bar(amountScreen), heading(text.say("amount_title")), made]);
  if (amount) estimate(worth, amount);
}

function confirmScreen() {
  const words = text.say("confirm", { amount: price(), app: config.partner.name });
  const line = alertLine();
  const wish = wishing();
  const made = form([...(wish ? [wish.box] : []), line], text.say("continue"), async (data) => {
    if (wishes(wish, data, line)) await next();
  });
  show("confirm", [bar(confirmScreen), heading(words), made]);
}

/** From the amount to whatever is still missing. */
async function next() {
  // The page's key is not enough to have a card charged by itself either.
  if (!userKey || (wished && !account?.consent_token)) return emailScreen();
  // Who has not just logged in spends what was bought here; the page's key is not enough for more.
  if (account?.consent?.needed && account.consent_token) return consentScreen();
  if (asked.mode === "new_tab") return tabScreen();
  await pay();
}

function emailScreen(known = "") {
  const line = alertLine();
  const input = field("email", text.say("email"), {
    type: "email", autocomplete: "email", required: true, value: known,
  });
  const made = form([input, line], text.say("send_code"), async (data) => {
    const email = String(data.get("email"));
    try {
      const { attempt: login } = await api.login({ publishable_key: PK, email, locale: asked.locale });
      codeScreen(email, login);
    } catch (error) {
      inline(line, error, "email");
    }
  });
  show("email", [heading(text.say("email_title")), soft(text.say("email_why")), made]);
}

function codeScreen(/** @type {string} */ email, /** @type {string} */ login) {
  const line = alertLine();
  const input = field("code", text.say("code"), {
    inputmode: "numeric", autocomplete: "one-time-code", maxlength: "6", required: true,
  });
  const made = form([input, line], text.say("continue"), async (data) => {
    const code = String(data.get("code")).trim();
    if (!CODE.test(code)) {
      line.textContent = text.say("code_form");
      return;
    }
    try {
      const entered = await api.verify({ publishable_key: PK, attempt: login, code });
      userKey = entered.user_key;
      account = entered;
      tell({ t: "login", user_key: userKey, balance: Number(entered.balance) });
    } catch (error) {
      return inline(line, error, "code");
    }
    await next();
  });
  const again = quiet("again", text.say("other_email"), () => emailScreen(email));
  show("code", [heading(text.say("code_title")), soft(text.say("code_sent", { email })), made, again]);
}

function consentScreen() {
  const line = alertLine();
  const app = config.partner.name;
  const input = field("limit", text.say("limit"), { inputmode: "decimal", value: "0" });
  const made = form([input, line], text.say("continue"), async (data) => {
    const limit = String(data.get("limit")).trim().replace(",", ".");
    try {
      await api.consent(/** @type {string} */ (userKey), account.consent_token, limit);
      account.consent.needed = false;
    } catch (error) {
      return inline(line, error, "limit");
    }
    await next();
  });
  const elsewhere = text.number(Number(account.consent.elsewhere));
  const words = text.say("consent_why", { app, elsewhere });
  show("consent", [heading(text.say("consent_title", { app })), soft(words), made]);
}

function tabScreen() {
  const press = () => {
    // At once, while the click still counts: later the browser takes it for a pop-up.
    const opened = window.open("/checkout/launch", "_blank");
    pay(opened);
  };
  const words = text.say("pay_in_tab", { amount: price() });
  show("pay", [bar(tabScreen), heading(text.say("pay_title")), button("pay", words, press)]);
}

// ---- Paying.

async function pay(/** @type {Window | null} */ tab = null) {
  const wish = {
    publishable_key: PK, attempt, amount: Number(amount).toFixed(2), currency: asked.currency,
    mode: asked.mode, origin: asked.origin, ...(wished ? { top_up: wished } : {}),
  };
  show("creating", [heading(text.say("creating")), statusLine("")]);
  try {
    order = await api.order(/** @type {string} */ (userKey), wish, account?.consent_token);
  } catch (error) {
    tab?.close();
    if (/** @type {any} */ (error).code === "invalid_user_key") return loggedOut();
    // Another order: the first may be too old for Stripe by now.
    return stopped(error, () => {
      attempt = crypto.randomUUID();
      return asked.mode === "new_tab" ? tabScreen() : pay();
    });
  }
  const { order: id, token, session_id, checkout_url } = order;
  tell({
    t: "opened", order: id, token, session_id, user_key: userKey,
    ...(checkout_url ? { checkout_url } : {}),
  });
  let seen = 0;
  stopWatching = payment.watch(order, (state) => {
    for (; seen < state.attempts.length; seen += 1) {
      const { code, message } = state.attempts[seen];
      tell({ t: "attempt", order: id, index: seen, error: { code, message, retryable: true } });
    }
    decided(state);
  }, lineDown);
  if (asked.mode === "embedded") return embedded();
  if (tab) tab.location = checkout_url;
  waitingScreen(tab === null && asked.mode === "new_tab");
}

async function embedded() {
  const at = screens.make("div", { id: "payment" });
  show("paying", [heading(text.say("pay_title")), at]);
  try {
    await payment.mount(config.stripe, order.client_secret, at, processingScreen);
  } catch (error) {
    stopWatching();
    stopped(error, embedded);
  }
}

function waitingScreen(/** @type {boolean} */ blocked) {
  const url = order.checkout_url;
  const link = screens.make("a", {
    class: "button", href: url, target: "_blank", rel: "noopener", "data-testid": "open-again",
  }, text.say(blocked ? "open_payment" : "open_again"));
  const words = text.say(asked.mode === "manual" ? "waiting_manual" : blocked ? "blocked" : "waiting");
  show("waiting", [
    heading(text.say("waiting_title")), spinner(), statusLine(words),
    asked.mode === "manual" ? null : link,
    quiet("cancel", text.say("cancel"), giveUp),
  ]);
}

function processingScreen() {
  payment.unmount();
  const words = statusLine(text.say("processing"));
  show("processing", [heading(text.say("processing_title")), spinner(), words]);
  setTimeout(() => {
    words.textContent = text.say("processing_long");
  }, PATIENCE_MS);
}

/** What an order's state means for the screen. */
function decided(/** @type {any} */ state) {
  const here = document.getElementById("screen")?.dataset.testid;
  if (state.status === "paid") {
    over();
    const { balance, credits_added } = state;
    tell({ t: "purchased", order: order.order, user_key: userKey, balance: Number(balance), credits_added: Number(credits_added) });
    order = null;
    return successScreen(Number(credits_added), Number(balance));
  }
  if (state.status === "processing" && here !== "screen-delayed") {
    payment.unmount();
    show("delayed", [heading(text.say("delayed_title")), statusLine(text.say("delayed"))]);
  }
  if (["failed", "expired", "canceled"].includes(state.status)) {
    over();
    order = null;
    attempt = crypto.randomUUID();
    amountScreen(text.say(state.status === "failed" ? "failed" : "expired"));
  }
}

function successScreen(/** @type {number} */ added, /** @type {number} */ balance) {
  const words = text.say("success", { added: text.number(added), balance: text.number(balance) });
  const terms = wished && { ...wished, amount: Number(amount), currency: asked.currency };
  show("success", [
    heading(text.say("success_title")), statusLine(words),
    terms && soft(topUp.sentence(text, terms)),
    button("done", text.say("done"), () => tell({ t: "done" })),
  ]);
}

async function giveUp() {
  try {
    decided(await api.cancel(order));
  } catch (error) {
    stopped(error, () => waitingScreen(false));
  }
}

function over() {
  stopWatching();
  payment.unmount();
}

async function logout() {
  try {
    await api.logout(/** @type {string} */ (userKey));
  } catch {
    // The page forgets the key all the same.
  }
  loggedOut();
}

function loggedOut() {
  userKey = null;
  account = null;
  wished = null;
  tell({ t: "logout" });
  amountScreen();
}

// ---- Small things.

const closeButton = /** @type {HTMLElement} */ (document.getElementById("close"));
const brand = /** @type {HTMLElement} */ (document.getElementById("brand"));
const spinner = () => screens.make("div", { class: "waiting", "aria-hidden": "true" });
const price = () => text.money(Number(amount), asked.currency);
const fits = (/** @type {number} */ value) => value >= config.min && value <= config.max;
const range = () =>
  text.say("range", { min: text.money(config.min, asked.currency), max: text.money(config.max, asked.currency) });

/** "About so many requests", by a model of middling price. */
async function estimate(/** @type {HTMLElement} */ at, /** @type {number} */ picked) {
  if (!(picked > 0)) return;
  try {
    models ??= api.pricing(PK).then((/** @type {any} */ told) => told.models);
    const priced = (await models)
      .filter((/** @type {any} */ model) => model.credits_per_request > 0)
      .sort((/** @type {any} */ a, /** @type {any} */ b) => a.credits_per_request - b.credits_per_request);
    const model = priced[Math.floor(priced.length / 2)];
    if (!model) return;
    const credits = picked * Number(config.credits_per_unit[asked.currency]);
    const number = text.number(Math.floor(credits / model.credits_per_request));
    at.textContent = text.say("estimate", { number, model: model.name });
  } catch {
    // The purchase does not need it.
  }
}
/** @type {Promise<any> | null} */ let models = null;

/** What went wrong, in the user's language where we have words for it. */
function words(/** @type {any} */ error) {
  const known = text.has(`error_${error.code}`);
  return known ? text.say(`error_${error.code}`) : error.message || text.say("error");
}

/** A mistake of the user's stands beside the field; anything else is told to the page too. */
function inline(/** @type {HTMLElement} */ line, /** @type {any} */ error, /** @type {string} */ about) {
  line.textContent = words(error);
  const own = ["wrong_code", "code_expired"].includes(error.code) || error.code === "invalid_request";
  if (own) document.querySelector(`[name=${about}]`)?.setAttribute("aria-invalid", "true");
  else report(error);
}

function report(/** @type {any} */ error) {
  const told = error instanceof api.CheckoutError ? error.told() : { code: "error", message: String(error), retryable: true };
  tell({ t: "error", error: { ...told, message: words(error) } });
}

/** A screen that says why it does not go on. */
function stopped(/** @type {any} */ error, /** @type {() => void} */ retry) {
  report(error);
  show("error", [
    heading(text.say("error_title")), alertLine(words(error)),
    error.retryable === false ? null : button("retry", text.say("retry"), retry),
    quiet("error-close", text.say("close"), () => tell({ t: "close" })),
  ]);
}

/** Once for each time that the line is down. */
function lineDown(/** @type {boolean} */ down) {
  if (down && !offline) report(new api.CheckoutError("network", text.say("error_network"), true));
  offline = down;
}

closeButton.addEventListener("click", () => port?.postMessage({ t: "close" }));
addEventListener("keydown", (event) => {
  if (event.key === "Escape") port?.postMessage({ t: "close" });
});
start();
