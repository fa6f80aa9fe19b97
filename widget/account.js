// The account page: logs in by a mailed code, and shows the balance, the apps that hold keys, and what became
// of the credits. The token lives in this module only: who reloads the page logs in again.

import { CheckoutError, call } from "./frame/api.js";
import { alertLine, field, form, heading, make, quiet, show, soft, statusLine } from "./frame/screens.js";
import { load } from "./frame/text.js";

const CODE = /^\d{6}$/;

/** @type {import("./frame/screens.js").Text} */ let text;
/** @type {string | null} */ let token = null;

/** A call in the name of whoever is logged in. @param {string} method @param {string} path */
const ask = (method, path) => call(method, `/account/${path}`, undefined, { "x-account-token": token ?? "" });

function emailScreen(known = "", problem = "") {
  const line = alertLine(problem);
  const input = field("email", text.say("email"), {
    type: "email", autocomplete: "email", required: true, value: known,
  });
  const made = form([input, line], text.say("send_code"), async (data) => {
    const email = String(data.get("email"));
    try {
      const { attempt } = await call("POST", "/account/login", { email });
      codeScreen(email, attempt);
    } catch (error) {
      line.textContent = words(error);
    }
  });
  show("email", [heading(text.say("title")), soft(text.say("why")), made]);
}

function codeScreen(/** @type {string} */ email, /** @type {string} */ attempt) {
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
      ({ token } = await call("POST", "/account/verify", { attempt, code }));
    } catch (error) {
      line.textContent = words(error);
      return;
    }
    await accountScreen();
  });
  const again = quiet("again", text.say("other_email"), () => emailScreen(email));
  show("code", [heading(text.say("code_title")), soft(text.say("code_sent", { email })), made, again]);
}

async function accountScreen(done = "") {
  /** @type {any} */ let account;
  try {
    account = await ask("GET", "me");
  } catch (error) {
    return loggedOut(words(error));
  }
  const bar = make("div", { class: "bar" }, soft(account.email ?? ""), quiet("logout", text.say("logout"), logOut));
  show("account", [
    bar, heading(text.say("balance", { balance: text.exact(account.balance) })), done ? statusLine(done) : null,
    make("h2", {}, text.say("apps")), ...apps(account.keys),
    make("h2", {}, text.say("history")), history(account.history),
    account.has_more ? soft(text.say("more", { rows: text.number(account.history.length) })) : null,
  ]);
}

/** @param {any[]} keys */
function apps(keys) {
  if (keys.length === 0) return [soft(text.say("no_apps"))];
  const own = (/** @type {string} */ app) => keys.filter((one) => one.app === app).map(key);
  return [...new Set(keys.map(({ app }) => app))].map((app) =>
    make("section", { class: "app", "data-testid": "app" }, make("h3", {}, app), ...own(app)));
}

/** @param {any} key */
function key({ id, app, created, last_used, origin }) {
  const used = last_used === null ? text.say("unused")
    : text.say(origin ? "used_from" : "used", { date: text.date(last_used), origin: origin ?? "" });
  const made = text.say("made", { date: text.date(created) });
  const take = quiet("revoke", text.say("revoke"), async () => {
    try {
      await ask("DELETE", `keys/${id}`);
    } catch (error) {
      return loggedOut(words(error));
    }
    await accountScreen(text.say("revoked", { app }));
  });
  take.setAttribute("aria-label", text.say("revoke_what", { app, made }));
  return make("div", { class: "key" }, soft(`${made} · ${used}`), take);
}

/** @param {any[]} rows */
function history(rows) {
  if (rows.length === 0) return soft(text.say("no_history"));
  const line = (/** @type {any} */ { created, type, model, credits }) =>
    make("tr", {}, make("td", {}, text.date(created)), make("td", {}, model ?? text.say(`type_${type}`)),
      make("td", { class: "amount" }, text.exact(credits)));
  const head = ["date", "what", "credits"].map((name) =>
    make("th", { scope: "col", class: name === "credits" ? "amount" : null }, text.say(name)));
  return make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows.map(line)));
}

async function logOut() {
  try {
    await ask("POST", "logout");
  } catch {
    // The page forgets the token all the same.
  }
  loggedOut();
}

function loggedOut(problem = "") {
  token = null;
  emailScreen("", problem);
}

/** What went wrong, in the user's language where we have words for it. @param {any} error */
function words(error) {
  const known = error instanceof CheckoutError && text.has(`error_${error.code}`);
  return known ? text.say(`error_${error.code}`) : error.message || text.say("error");
}

async function start() {
  text = await load(null, "account.");
  document.title = `OpenCredits: ${text.say("title")}`;
  emailScreen();
}

start();
