// The words of the checkout in the user's language, and how amounts are written there.

const LANGUAGES = ["en", "de", "fr", "es"];

/**
 * The checkout's words, and those of another page beside them.
 * @param {string | null} locale @param {string} [page]
 */
export async function load(locale, page) {
  const wanted = locale ?? navigator.language;
  const short = wanted.slice(0, 2).toLowerCase();
  const language = LANGUAGES.includes(short) ? short : "en";
  const read = async (/** @type {string} */ of) => (await fetch(`/assets/strings/${of}${language}.json`)).json();
  const words = { ...(await read("")), ...(page ? await read(page) : {}) };
  document.documentElement.lang = language;
  const format = (/** @type {Intl.NumberFormatOptions} */ options) => {
    try {
      return new Intl.NumberFormat(wanted, options);
    } catch {
      return new Intl.NumberFormat(language, options);
    }
  };
  return {
    /** A text, with `{names}` replaced. @param {string} name @param {Record<string, string>} [values] */
    say: (name, values = {}) =>
      (words[name] ?? name).replace(/\{(\w+)\}/g, (/** @type {string} */ _, /** @type {string} */ key) => values[key] ?? ""),
    /** Whether there is such a text. @param {string} name */
    has: (name) => name in words,
    /** @param {number} amount @param {string} currency */
    money: (amount, currency) => {
      const digits = Number.isInteger(amount) ? 0 : 2;
      const options = { style: /** @type {const} */ ("currency"), currency: currency.toUpperCase() };
      return format({ ...options, minimumFractionDigits: digits, maximumFractionDigits: 2 }).format(amount);
    },
    /** @param {number} number */
    number: (number) => format({ maximumFractionDigits: number < 10 ? 1 : 0 }).format(number),
    /** To the last digit that there is: a microcredit. @param {number} number */
    exact: (number) => format({ maximumFractionDigits: 6 }).format(number),
    /** @param {number} seconds since 1970 */
    date: (seconds) => new Intl.DateTimeFormat(language, { dateStyle: "medium" }).format(seconds * 1000),
  };
}
