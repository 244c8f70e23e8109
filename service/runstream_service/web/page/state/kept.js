// Small choices that belong to a browser and not to a link, such as the width of a list.

/**
 * @template {string | number | boolean} T
 * @param {string} name
 * @param {T} otherwise
 * @returns {T}
 */
export function readKept(name, otherwise) {
  try {
    const value = JSON.parse(localStorage.getItem(`runstream.${name}`) ?? 'null');
    return typeof value === typeof otherwise ? value : otherwise;
  } catch {
    return otherwise;
  }
}

/**
 * @param {string} name
 * @param {string | number | boolean} value
 */
export function keep(name, value) {
  try {
    localStorage.setItem(`runstream.${name}`, JSON.stringify(value));
  } catch {
    // The browser keeps nothing for this site; it holds for this tab.
  }
}
