// The screens as plain DOM: each is made of the state it shows and of what its controls do.

/** @typedef {Awaited<ReturnType<typeof import("./text.js").load>>} Text */

const main = /** @type {HTMLElement} */ (document.getElementById("screen"));

/**
 * @param {string} tag @param {Record<string, any>} [set] @param {...(Node | string)} children
 * @returns {any}
 */
export function make(tag, set = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(set)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Shows a screen and moves the focus to its first field, or to its heading. */
export function show(/** @type {string} */ name, /** @type {(Node | string | null)[]} */ parts) {
  main.dataset.testid = `screen-${name}`;
  main.removeAttribute("aria-busy");
  main.replaceChildren(...parts.filter((part) => part !== null));
  const field = main.querySelector("[type=radio]:checked") ?? main.querySelector("input:not([type=radio], [type=checkbox])");
  const shown = field?.checkVisibility() ? field : null;
  const first = shown ?? main.querySelector("h1");
  if (first instanceof HTMLElement) first.focus({ preventScroll: true });
}

/** @param {string} text */
export const heading = (text) => make("h1", { tabindex: "-1" }, text);
/** @param {string} text */
export const soft = (text) => make("p", { class: "soft" }, text);
/** @param {string} [text] */
export const alertLine = (text = "") => make("p", { role: "alert", "data-testid": "alert" }, text);
/** @param {string} text */
export const statusLine = (text) => make("p", { role: "status" }, text);
/** @param {string} id @param {string} text @param {() => void} press */
export const button = (id, text, press) =>
  make("button", { type: "button", "data-testid": id, onclick: press }, text);
/** @param {string} id @param {string} text @param {() => void} press */
export const quiet = (id, text, press) =>
  make("button", { type: "button", class: "quiet", "data-testid": id, onclick: press }, text);

/** A form whose button works once until what it started is over. */
export function form(
  /** @type {Node[]} */ fields,
  /** @type {string} */ label,
  /** @type {(data: FormData) => Promise<void>} */ submit,
) {
  const send = make("button", { "data-testid": "continue" }, label);
  const submitted = async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    if (send.disabled) return;
    send.disabled = true;
    try {
      await submit(new FormData(/** @type {HTMLFormElement} */ (event.target)));
    } finally {
      send.disabled = false;
    }
  };
  const made = make("form", { novalidate: true, onsubmit: submitted }, ...fields, send);
  made.className = "stack";
  return made;
}

/** @param {string} name @param {string} label @param {Record<string, any>} set */
export const field = (name, label, set) =>
  make("label", { class: `field ${name}` }, label, make("input", { name, "data-testid": name, ...set }));

/** The amounts to pick from, and a field for another one. */
export function amounts(
  /** @type {Text} */ text,
  /** @type {any} */ config,
  /** @type {string} */ currency,
  /** @type {number | null} */ chosen,
) {
  const one = (/** @type {number} */ amount) =>
    make(
      "label",
      {},
      make("input", {
        type: "radio", name: "amount", value: String(amount), "data-testid": `amount-${amount}`,
        checked: amount === chosen,
      }),
      text.money(amount, currency),
    );
  const offered = config.amounts.filter((/** @type {number} */ a) => a >= config.min && a <= config.max);
  const isOther = chosen !== null && !offered.includes(chosen);
  const radio = make("input", { type: "radio", name: "amount", value: "other", "data-testid": "amount-other", checked: isOther });
  const other = make("input", {
    name: "other", inputmode: "decimal", autocomplete: "off", "data-testid": "amount-custom",
    value: isOther ? String(chosen) : "",
  });
  const box = make("label", { class: "field", hidden: !isOther }, text.say("other_amount"), other);
  const set = make(
    "fieldset",
    { class: "amounts" },
    make("legend", {}, text.say("amount_legend")),
    ...offered.map(one),
    make("label", {}, radio, text.say("other")),
  );
  set.addEventListener("change", () => {
    box.hidden = !radio.checked;
    if (radio.checked) other.focus();
  });
  return { set, box };
}
