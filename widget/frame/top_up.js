// Auto top-up as the checkout shows it: the wish beside an amount, and what is in force.

import { field, make, quiet, soft } from "./screens.js";

/** @typedef {import("./screens.js").Text} Text */
/** @typedef {{ threshold: string, monthly_cap: string }} Wish */

/** Of the credits that an amount buys, so many are left when it is bought again; and so often a month. */
const PART_LEFT = 0.2;
const TIMES_A_MONTH = 4;

/** The wish, unchecked until the buyer checks it; then with terms that suit the amount. */
export function wishing(
  /** @type {Text} */ text,
  /** @type {string} */ currency,
  /** @type {number} */ creditsPerUnit,
  /** @type {Wish | null} */ wished,
) {
  const check = make("input", {
    type: "checkbox", name: "top_up", "data-testid": "top-up", checked: wished !== null,
    "aria-controls": "top-up-terms", "aria-expanded": String(wished !== null),
  });
  const number = (/** @type {keyof Wish} */ name, /** @type {string} */ label) =>
    field(name, label, { inputmode: "decimal", autocomplete: "off", value: wished?.[name] ?? "" });
  const threshold = number("threshold", text.say("top_up_threshold"));
  const cap = number("monthly_cap", text.say("top_up_cap", { currency: currency.toUpperCase() }));
  const terms = make(
    "div", { class: "stack", id: "top-up-terms", hidden: wished === null },
    threshold, cap, soft(text.say("top_up_why")),
  );
  let isOwn = wished !== null;
  terms.addEventListener("input", () => {
    isOwn = true;
  });
  check.addEventListener("change", () => {
    terms.hidden = !check.checked;
    check.setAttribute("aria-expanded", String(check.checked));
  });
  const label = make("label", { class: "check" }, check, text.say("top_up"));
  return {
    box: make("div", { class: "stack top-up" }, label, terms),
    /** Fits the terms to another amount, unless the buyer wrote them. @param {number | null} amount */
    suggest(amount) {
      if (isOwn || !amount || !(amount > 0)) return;
      threshold.querySelector("input").value = String(Math.max(1, Math.floor(amount * creditsPerUnit * PART_LEFT)));
      cap.querySelector("input").value = String(amount * TIMES_A_MONTH);
    },
    /**
     * What the buyer wishes: `null` for nothing, `undefined` for what cannot be.
     * @param {FormData} data @param {number} amount @returns {Wish | null | undefined}
     */
    read(data, amount) {
      if (!data.get("top_up")) return null;
      const written = (/** @type {string} */ name) => String(data.get(name)).trim().replace(",", ".");
      const wish = { threshold: written("threshold"), monthly_cap: written("monthly_cap") };
      const fits = (/** @type {string} */ value, /** @type {number} */ min, /** @type {number} */ max) =>
        /^\d+(\.\d{1,2})?$/.test(value) && Number(value) >= min && Number(value) <= max;
      const ok = fits(wish.threshold, 0.01, amount * creditsPerUnit) && fits(wish.monthly_cap, amount, 100_000);
      return ok ? wish : undefined;
    },
  };
}

/** What a wish means, in a sentence. */
export const sentence = (
  /** @type {Text} */ text,
  /** @type {{ threshold: number | string, amount: number, monthly_cap: number | string, currency: string }} */ terms,
) =>
  text.say("top_up_on", {
    amount: text.money(terms.amount, terms.currency),
    threshold: text.number(Number(terms.threshold)),
    cap: text.money(Number(terms.monthly_cap), terms.currency),
  });

/** What is in force, with the way to end it; or why it ended by itself. */
export function state(/** @type {Text} */ text, /** @type {any} */ topUp, /** @type {() => void} */ off) {
  if (!topUp) return null;
  const words = topUp.on ? sentence(text, topUp) : text.say(`top_up_${topUp.ended}`);
  const line = make("p", { class: "soft", "data-testid": "top-up-state" }, words);
  const end = topUp.on ? [quiet("top-up-off", text.say("turn_off"), off)] : [];
  return make("div", { class: "bar state" }, line, ...end);
}
