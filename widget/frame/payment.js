// Stripe's form within the frame, and the watch over an order until it is decided.

import * as api from "./api.js";

/** Between two looks at an order, in milliseconds. */
const LOOK_MS = 1000;
const LOOK_HIDDEN_MS = 2000;

/** @type {any} */ let mounted = null;

/** Loads Stripe.js, once. @param {string} url @returns {Promise<any>} */
function stripe(url) {
  if ("Stripe" in window) return Promise.resolve(window.Stripe);
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    // @ts-ignore
    script.onload = () => resolve(window.Stripe);
    script.onerror = () => {
      script.remove();
      reject(new api.CheckoutError("stripe_load_failed", "stripe_load_failed", true));
    };
    document.head.append(script);
  });
}

/** Shows Stripe's form; `complete` is called when the buyer is through. */
export async function mount(
  /** @type {{publishable_key: string, js_url: string}} */ account,
  /** @type {string} */ secret,
  /** @type {HTMLElement} */ at,
  /** @type {() => void} */ complete,
) {
  unmount();
  const Stripe = await stripe(account.js_url);
  mounted = await Stripe(account.publishable_key).createEmbeddedCheckoutPage({
    fetchClientSecret: async () => secret,
    onComplete: complete,
  });
  mounted.mount(at);
}

export function unmount() {
  mounted?.destroy();
  mounted = null;
}

/** Asks for an order's state until told to stop. @returns {() => void} stops it */
export function watch(
  /** @type {{order: string, token: string}} */ order,
  /** @type {(state: any) => void} */ learn,
  /** @type {(offline: boolean) => void} */ line,
) {
  let stopped = false;
  let wait = 0;
  const look = async () => {
    if (stopped) return;
    try {
      const state = await api.state(order);
      wait = 0;
      line(false);
      if (!stopped) learn(state);
    } catch {
      // Longer and longer, up to ten seconds, while the line is down.
      wait = Math.min(10_000, wait * 2 || LOOK_MS);
      line(true);
    }
    setTimeout(look, wait || (document.hidden ? LOOK_HIDDEN_MS : LOOK_MS));
  };
  setTimeout(look, LOOK_MS);
  return () => {
    stopped = true;
  };
}
