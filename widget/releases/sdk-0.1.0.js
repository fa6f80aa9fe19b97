// OpenCredits checkout: loads the checkout's frame into a dialog of the partner's page, keeps the user's
// key, and tells the page what happened. No dependency; one global.
(() => {
  "use strict";
  const script = /** @type {HTMLScriptElement | null} */ (document.currentScript);
  const HOME = script?.src ? new URL(script.src).origin : location.origin;
  const CALLBACKS = [
    "onPurchaseCompleted", "onLoginCompleted", "onCheckoutOpened", "onPurchaseError", "onError",
    "onComplete", "onLoggedOut",
  ];
  const LOAD_MS = 8000;
  const PENDING_MS = 30 * 60_000;
  const TAKEOVER_MS = 20_000;
  const STYLE = `
    dialog { border: 0; padding: 0; margin: auto; width: 440px; height: min(680px, 100dvh);
      max-width: 100vw; max-height: 100dvh; border-radius: 16px; overflow: hidden;
      background: Canvas; color: CanvasText; color-scheme: light dark; }
    dialog::backdrop { background: rgb(0 0 0 / 50%); }
    iframe { border: 0; width: 100%; height: 100%; display: block; }
    div { font: 16px/1.5 system-ui, sans-serif; padding: 24px; }
    button { font: inherit; min-height: 44px; margin-right: 8px; padding: 0 16px; }
    @media (max-width: 480px) { dialog { width: 100vw; height: 100dvh; border-radius: 0; } }
    @media (forced-colors: active) { dialog { border: 1px solid; } }`;

  /** @type {any} */ let options = null;
  /** @type {any} */ let view = null;
  /** @type {any} */ let timer = 0;
  /** @type {Map<string, string>} */ const memory = new Map();

  // ---- What the page keeps: in localStorage, or in memory where that is blocked.

  const named = (/** @type {string} */ name) => `opencredits:${options.publishableKey}:${name}`;

  function read(/** @type {string} */ name) {
    try {
      const kept = localStorage.getItem(named(name));
      if (kept !== null) return kept;
    } catch {}
    return memory.get(named(name)) ?? null;
  }

  function keep(/** @type {string} */ name, /** @type {string | null} */ value) {
    if (value === null) memory.delete(named(name));
    else memory.set(named(name), value);
    try {
      if (value === null) localStorage.removeItem(named(name));
      else localStorage.setItem(named(name), value);
      memory.delete(named(name));
    } catch {}
  }

  function list(/** @type {string} */ name) {
    try {
      const kept = JSON.parse(read(name) ?? "[]");
      return Array.isArray(kept) ? kept : [];
    } catch {
      return [];
    }
  }

  /** This tab, also after a reload. */
  const tab = (() => {
    const made = Math.random().toString(36).slice(2);
    try {
      const name = "opencredits:tab";
      const kept = sessionStorage.getItem(name) ?? made;
      sessionStorage.setItem(name, kept);
      return kept;
    } catch {
      return made;
    }
  })();

  // ---- What the page is told.

  function fire(/** @type {string} */ name, /** @type {any} */ data) {
    try {
      options[name]?.(data);
    } catch (error) {
      // The page's own mistake reaches the page's own reporter, and stops nothing of ours.
      setTimeout(() => {
        throw error;
      });
    }
  }

  function failure(/** @type {any} */ { code = "error", message = "Something went wrong.", retryable = false }) {
    return { code, message, retryable, toString: () => message };
  }

  function fail(/** @type {any} */ error) {
    if (options.onError) fire("onError", { error: failure(error) });
    else console.error(`OpenCredits: ${error.message}`);
  }

  function paymentFailed(/** @type {any} */ error) {
    fire("onPurchaseError", { error: failure(error) });
    fail(error);
  }

  // ---- Orders under way, which outlive the dialog and the page.

  const pending = () => list("pending").filter((/** @type {any} */ one) => one.exp > Date.now());
  const keepPending = (/** @type {any[]} */ all) => keep("pending", all.length ? JSON.stringify(all.slice(-5)) : null);

  function note(/** @type {string} */ order, /** @type {any} */ change) {
    keepPending(pending().map((/** @type {any} */ one) => (one.order === order ? { ...one, ...change } : one)));
  }

  function drop(/** @type {string} */ order) {
    keepPending(pending().filter((/** @type {any} */ one) => one.order !== order));
  }

  function completed(/** @type {string} */ order, /** @type {any} */ data) {
    drop(order);
    const done = list("done");
    if (done.includes(order)) return null;
    keep("done", JSON.stringify([...done, order].slice(-20)));
    const { balance, credits_added } = data;
    const told = { user_key: getUserKey(), balance, credits_added };
    fire("onPurchaseCompleted", told);
    return told;
  }

  /** What follows from an order's state. */
  function learn(/** @type {any} */ one, /** @type {any} */ state) {
    const before = one.attempts ?? 0;
    if (state.attempts.length > before) {
      note(one.order, { attempts: state.attempts.length });
      for (const attempt of state.attempts.slice(before)) paymentFailed({ ...attempt, retryable: true });
    }
    if (state.status === "paid") completed(one.order, state);
    else if (["failed", "expired", "canceled"].includes(state.status)) drop(one.order);
  }

  async function ask(/** @type {any} */ one, path = "", method = "GET") {
    const headers = { "x-order-token": one.token };
    const answer = await fetch(`${options.baseUrl}/checkout/orders/${one.order}${path}`, { method, headers });
    if (answer.status === 404) drop(one.order);
    if (!answer.ok) throw new Error(String(answer.status));
    return answer.json();
  }

  /** Looks after orders while no dialog does; of several tabs only the one that opened them. */
  function watch(wait = 1000) {
    clearTimeout(timer);
    if (!options || view || pending().length === 0) return;
    timer = setTimeout(async () => {
      for (const one of pending()) {
        const ours = one.tab === tab || Date.now() - one.seen > TAKEOVER_MS;
        if (!ours) continue;
        note(one.order, { tab, seen: Date.now() });
        try {
          learn(one, await ask(one));
        } catch {}
      }
      watch(Math.min(wait * 1.3, 15_000));
    }, wait);
  }

  // ---- The dialog.

  const SHAPES = /** @type {Record<string, Record<string, string>>} */ ({
    ready: {},
    login: { user_key: "string", balance: "number" },
    opened: { order: "string", token: "string", session_id: "string", user_key: "string" },
    attempt: { order: "string", index: "number", error: "object" },
    purchased: { order: "string", balance: "number", credits_added: "number" },
    error: { error: "object" },
    logout: {},
    close: {},
    done: {},
  });

  function receive(/** @type {any} */ message) {
    const shape = Object.hasOwn(SHAPES, message?.t) ? SHAPES[message.t] : null;
    if (!shape || !Object.entries(shape).every(([name, type]) => typeof message[name] === type)) return;
    if (!view) return;
    const { order, error } = message;
    if (message.t === "ready") clearTimeout(view.loading);
    if (message.t === "login") {
      keep("user_key", message.user_key);
      fire("onLoginCompleted", { user_key: message.user_key, balance: message.balance });
    }
    if (message.t === "opened") opened(message);
    if (message.t === "attempt") {
      note(order, { attempts: message.index + 1 });
      paymentFailed(error);
    }
    if (message.t === "purchased") view.bought = completed(order, message) ?? view.bought;
    if (message.t === "error") fail(error);
    if (message.t === "logout") {
      keep("user_key", null);
      fire("onLoggedOut", undefined);
    }
    if (message.t === "close" || message.t === "done") dismiss();
  }

  function opened(/** @type {any} */ { order, token, session_id, user_key, checkout_url }) {
    const now = Date.now();
    keepPending([...pending(), { order, token, mode: options.checkoutMode, exp: now + PENDING_MS, tab, seen: now }]);
    const told = { session_id, user_key };
    fire("onCheckoutOpened", checkout_url ? { ...told, checkout_url } : told);
  }

  function show(/** @type {any} */ config) {
    const host = document.createElement("opencredits-checkout");
    const root = host.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    const dialog = document.createElement("dialog");
    dialog.setAttribute("aria-label", "Buy credits");
    const { style } = document.documentElement;
    view = { host, dialog, config, overflow: style.overflow, opener: document.activeElement };
    style.overflow = "hidden";
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      dismiss();
    });
    dialog.addEventListener("click", (event) => event.target === dialog && dismiss());
    root.append(dialog);
    document.body.append(host);
    dialog.showModal();
    load();
  }

  function load() {
    const { dialog, config } = view;
    const frame = document.createElement("iframe");
    const channel = new MessageChannel();
    frame.title = "Checkout";
    frame.allow = "payment";
    frame.src = `${options.baseUrl}/checkout/frame?pk=${encodeURIComponent(options.publishableKey)}`;
    channel.port1.onmessage = (event) => receive(event.data);
    frame.addEventListener("load", () => {
      const init = { t: "init", v: 1, nonce: Math.random().toString(36).slice(2), config };
      frame.contentWindow?.postMessage(init, options.baseUrl, [channel.port2]);
    }, { once: true });
    probe(view);
    view.port = channel.port1;
    view.loading = setTimeout(loadFailed, LOAD_MS);
    dialog.replaceChildren(frame);
    frame.focus();
  }

  /** Asks why the frame would not come, so that the page is told exactly and nothing stays half open. */
  async function probe(/** @type {any} */ of) {
    const refuse = (/** @type {any} */ error) => {
      if (view !== of) return;
      hide();
      fail(error);
    };
    try {
      const answer = await fetch(`${options.baseUrl}/checkout/config?pk=${encodeURIComponent(options.publishableKey)}`);
      const { error, origins } = await answer.json();
      if (error) return refuse({ code: error.type, message: error.message, retryable: answer.status === 429 });
      const here = (/** @type {string} */ allowed) =>
        allowed === location.origin || (allowed.endsWith(":*") && location.origin.startsWith(allowed.slice(0, -1)));
      const message = `This site (${location.origin}) may not open this checkout. Add it to the allowed origins.`;
      if (!origins.some(here)) refuse({ code: "origin_not_allowed", message });
    } catch {
      // The frame does not come either, and its time-out says so.
    }
  }

  function loadFailed() {
    const message = "The checkout did not load. Check your connection.";
    const box = document.createElement("div");
    box.setAttribute("role", "alert");
    const words = document.createElement("p");
    words.textContent = message;
    const button = (/** @type {string} */ label, /** @type {() => void} */ press) => {
      const made = document.createElement("button");
      made.textContent = label;
      made.addEventListener("click", press);
      return made;
    };
    box.append(words, button("Retry", load), button("Close", dismiss));
    view.dialog.replaceChildren(box);
    box.querySelector("button")?.focus();
    fail({ code: "load_failed", message, retryable: true });
  }

  /** Takes the dialog away; what is being paid elsewhere goes on. */
  function hide() {
    const { dialog, host, overflow, opener, loading, port, bought } = view;
    clearTimeout(loading);
    port?.close();
    view = null;
    dialog.close();
    host.remove();
    document.documentElement.style.overflow = overflow;
    opener?.focus?.();
    // The form of an embedded payment is gone with the dialog: nobody can pay it any more.
    for (const one of pending()) {
      if (one.mode === "embedded" && one.tab === tab) {
        ask(one, "/cancel", "POST").then((state) => learn(one, state)).catch(() => {});
      }
    }
    watch();
    return bought;
  }

  function dismiss() {
    if (!view) return;
    const bought = hide();
    if (bought) fire("onComplete", bought);
  }

  // ---- What the page calls.

  function init(/** @type {any} */ given) {
    const bad = (/** @type {string} */ what) => new Error(`OpenCredits.init(): ${what}`);
    if (typeof given?.publishableKey !== "string" || !given.publishableKey.startsWith("oc_pk_")) {
      throw bad("publishableKey (oc_pk_…) is required");
    }
    const { currency = "usd", checkoutMode = "embedded", baseUrl = HOME } = given;
    if (!["usd", "eur"].includes(currency)) throw bad("currency is 'usd' or 'eur'");
    if (!["embedded", "new_tab", "manual"].includes(checkoutMode)) {
      throw bad("checkoutMode is 'embedded', 'new_tab' or 'manual'");
    }
    for (const name of CALLBACKS) {
      if (given[name] != null && typeof given[name] !== "function") throw bad(`${name} is not a function`);
    }
    options = { ...given, currency, checkoutMode, baseUrl: new URL(baseUrl, location.href).origin };
    watch(0);
  }

  function open(/** @type {any} */ given = {}) {
    if (!options) throw new Error("OpenCredits.init() must be called first");
    let amount = given?.amount ?? null;
    const cents = Math.round(amount * 100);
    if (amount !== null && !(cents > 0 && Math.abs(cents - amount * 100) < 1e-6)) {
      fail({ code: "invalid_amount", message: "amount is not a number of dollars or euros above zero." });
      // Below every range: the dialog asks anew and says what it takes.
      amount = 0;
    }
    if (view) {
      if (amount !== null) view.port?.postMessage({ t: "amount", amount });
      return;
    }
    const { publishableKey: pk, currency, checkoutMode: mode, locale = null, theme = null } = options;
    const userKey = getUserKey();
    const config = { pk, currency, mode, amount, userKey, locale, theme, origin: location.origin };
    if (mode === "manual" && amount && userKey) order(config);
    else later(config);
  }

  /** Not before the caller is through: who closes at once shows nothing. */
  function later(/** @type {any} */ config) {
    const waiting = { later: true };
    view = waiting;
    queueMicrotask(() => {
      if (view === waiting) show(config);
    });
  }

  /** An order without a dialog: amount and key are known, and the page opens the payment itself. */
  async function order(/** @type {any} */ config) {
    const { pk, currency, mode, amount, userKey, origin } = config;
    const attempt = crypto.randomUUID();
    const wish = { publishable_key: pk, attempt, amount: amount.toFixed(2), currency, mode, origin };
    const headers = { "content-type": "application/json", "x-user-key": userKey };
    try {
      const body = JSON.stringify(wish);
      const answer = await fetch(`${options.baseUrl}/checkout/orders`, { method: "POST", headers, body });
      const made = await answer.json();
      if (answer.status === 401) {
        keep("user_key", null);
        fire("onLoggedOut", undefined);
        later({ ...config, userKey: null });
      } else if (answer.ok) {
        opened({ ...made, user_key: userKey });
        watch();
      } else {
        fail({ code: made.error.type, message: made.error.message, retryable: answer.status >= 429 });
      }
    } catch {
      fail({ code: "network", message: "The checkout cannot be reached.", retryable: true });
    }
  }

  function close() {
    if (view?.later) view = null;
    else if (view) hide();
  }

  function getUserKey() {
    return options && read("user_key");
  }

  // @ts-ignore
  window.OpenCredits = Object.freeze({ init, open, close, getUserKey });
})();
