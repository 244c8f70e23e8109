// Which entries of the palette fit what was typed, best first.

/**
 * @template {{label: string, kind: string}} E
 * @param {E[]} entries
 * @param {string} text
 * @returns {E[]}
 */
export function ranked(entries, text) {
  const words = text.toLowerCase().split(/\s+/).filter((word) => word !== '');
  if (words.length === 0) return entries;
  return entries
    .map((entry) => ({ entry, score: score(`${entry.label} ${entry.kind}`.toLowerCase(), words) }))
    .filter(({ score }) => score > 0)
    .sort((a, b) => b.score - a.score)
    .map(({ entry }) => entry);
}

/**
 * 0 if a word is missing; more if it begins the text, or a word of it.
 * @param {string} text
 * @param {string[]} words
 */
function score(text, words) {
  let sum = 0;
  for (const word of words) {
    const at = text.indexOf(word);
    if (at < 0) return 0;
    if (at === 0) sum += 3;
    else sum += /[\s/_.-]/.test(text[at - 1] ?? '') ? 2 : 1;
  }
  return sum;
}
