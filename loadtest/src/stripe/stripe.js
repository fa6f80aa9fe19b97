// A stand-in for Stripe.js: the embedded page of a session in a frame of the simulator.
"use strict";

(() => {
  const origin = new URL(document.currentScript.src).origin;
  let mounted = false;

  class IntegrationError extends Error {
    name = "IntegrationError";
  }

  window.Stripe = (key) => {
    if (!/^pk_(test|live)_/.test(key)) throw new IntegrationError("not a publishable key");
    const createEmbeddedCheckoutPage = async ({ fetchClientSecret, onComplete }) => {
      if (mounted) throw new IntegrationError("You cannot have multiple embedded pages.");
      mounted = true;
      const secret = await fetchClientSecret();
      const frame = document.createElement("iframe");
      frame.title = "Secure payment (simulated)";
      frame.src = `${origin}/embed/${secret}`;
      frame.style.cssText = "border: 0; width: 100%; height: 560px;";
      const listen = (event) => {
        const ours = event.origin === origin && event.source === frame.contentWindow;
        if (ours && event.data?.simulated_stripe === "complete") onComplete?.();
      };
      const unmount = () => {
        removeEventListener("message", listen);
        frame.remove();
      };
      return {
        mount(at) {
          addEventListener("message", listen);
          (typeof at === "string" ? document.querySelector(at) : at).append(frame);
        },
        unmount,
        destroy() {
          unmount();
          mounted = false;
        },
      };
    };
    const initEmbeddedCheckout = () => {
      throw new IntegrationError("initEmbeddedCheckout() is now createEmbeddedCheckoutPage().");
    };
    return { createEmbeddedCheckoutPage, initEmbeddedCheckout };
  };
})();
