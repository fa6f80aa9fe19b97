/** The checkout SDK of OpenCredits, as `/assets/sdk.js` puts it on the page. */
declare namespace OpenCredits {
  /** What went wrong. In a text it reads as its message. */
  interface CheckoutError {
    /** For programs: `card_declined`, `load_failed`, `invalid_publishable_key`, … */
    code: string;
    /** For people. */
    message: string;
    /** Whether trying again can help. */
    retryable: boolean;
  }

  /** A purchase whose credits are in the balance; amounts in credits (1 credit = 1 US cent). */
  interface Purchase {
    user_key: string;
    balance: number;
    credits_added: number;
  }

  interface Options {
    /** Your partner publishable key (`oc_pk_…`). */
    publishableKey: string;
    /** The gateway; by default the one that served the script. */
    baseUrl?: string;
    /** `'usd'` by default. */
    currency?: "usd" | "eur";
    /** Where the user pays; `'embedded'` by default. */
    checkoutMode?: "embedded" | "new_tab" | "manual";
    /** Such as `'de'`; the browser's language by default. */
    locale?: string;
    /** The system's by default. */
    theme?: "light" | "dark";
    /** Once for each paid order, when its credits are in the balance. */
    onPurchaseCompleted?(data: Purchase): void;
    /** When the user has entered a login code. */
    onLoginCompleted?(data: { user_key: string; balance: number }): void;
    /** Once for each checkout session; `checkout_url` where Stripe's page is opened. */
    onCheckoutOpened?(data: { session_id: string; user_key: string; checkout_url?: string }): void;
    /** Once for each declined or failed attempt to pay. */
    onPurchaseError?(data: { error: CheckoutError }): void;
    /** On any error, failed payments included. */
    onError?(data: { error: CheckoutError }): void;
    /** When the user dismisses the success screen. */
    onComplete?(data: Purchase): void;
    /** When the user logs out, or the key was revoked. */
    onLoggedOut?(): void;
  }

  /** Call it once on page load. Throws if an option is wrong. */
  function init(options: Options): void;
  /** Opens the checkout; with an amount in dollars or euros, the user picks none. */
  function open(options?: { amount?: number }): void;
  /** Closes the checkout. */
  function close(): void;
  /** The user's key (`oc_sk_…`), or null. */
  function getUserKey(): string | null;
}
