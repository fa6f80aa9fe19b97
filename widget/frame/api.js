// The checkout's calls to its own gateway. Keys and tokens travel in headers only.

/** An error that the gateway told, or that kept it from telling one. */
export class CheckoutError extends Error {
  /** @param {string} code @param {string} message @param {boolean} retryable */
  constructor(code, message, retryable) {
    super(message);
    this.code = code;
    this.retryable = retryable;
  }

  /** As the partner's page is told. */
  told() {
    return { code: this.code, message: this.message, retryable: this.retryable };
  }
}

/**
 * @param {string} method @param {string} path @param {unknown} [body]
 * @param {Record<string, string>} [headers]
 * @returns {Promise<any>}
 */
export async function call(method, path, body, headers = {}) {
  const init = /** @type {RequestInit} */ ({ method, headers: { ...headers } });
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { ...headers, "content-type": "application/json" };
  }
  let answer;
  try {
    answer = await fetch(path, init);
  } catch {
    throw new CheckoutError("network", "network", true);
  }
  if (answer.status === 204) return {};
  const told = await answer.json().catch(() => ({}));
  if (answer.ok) return told;
  const { type = "error", message = "error" } = told.error ?? {};
  throw new CheckoutError(type, message, answer.status === 429 || answer.status >= 500);
}

const withKey = (/** @type {string} */ key) => ({ "x-user-key": key });
const withToken = (/** @type {string} */ token) => ({ "x-order-token": token });

export const config = (/** @type {string} */ pk) =>
  call("GET", `/checkout/config?pk=${encodeURIComponent(pk)}`);
export const pricing = (/** @type {string} */ pk) =>
  call("POST", "/v1/credits/pricing", { publishable_key: pk });
export const login = (/** @type {object} */ wish) => call("POST", "/checkout/login", wish);
export const verify = (/** @type {object} */ entry) => call("POST", "/checkout/verify", entry);
export const me = (/** @type {string} */ key) => call("GET", "/checkout/me", undefined, withKey(key));
export const consent = (
  /** @type {string} */ key,
  /** @type {string} */ token,
  /** @type {string} */ limit,
) => call("POST", "/checkout/consent", { limit }, { ...withKey(key), "x-consent-token": token });
export const logout = (/** @type {string} */ key) => call("POST", "/checkout/logout", {}, withKey(key));
export const order = (
  /** @type {string} */ key,
  /** @type {object} */ wish,
  /** @type {string | undefined} */ token,
) => call("POST", "/checkout/orders", wish, { ...withKey(key), ...(token ? { "x-consent-token": token } : {}) });
export const topUpOff = (/** @type {string} */ key) => call("POST", "/checkout/top-up/off", {}, withKey(key));
export const state = (/** @type {{order: string, token: string}} */ order) =>
  call("GET", `/checkout/orders/${order.order}`, undefined, withToken(order.token));
export const cancel = (/** @type {{order: string, token: string}} */ order) =>
  call("POST", `/checkout/orders/${order.order}/cancel`, {}, withToken(order.token));
