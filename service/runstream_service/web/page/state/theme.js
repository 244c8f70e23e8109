// Light or dark: what the person chose, or what the system says.
import { createStore } from './store.js';

/** @typedef {'light' | 'dark' | 'system'} Choice */
const KEY = 'runstream.theme';
const system = matchMedia('(prefers-color-scheme: dark)');

/** What the person chose. */
export const themeChoice = createStore(/** @type {Choice} */ (stored()));
/** What is shown; charts draw themselves again when it changes. */
export const theme = createStore(/** @type {'light' | 'dark'} */ (shown(themeChoice.get())));

/** @returns {Choice} */
function stored() {
  try {
    const value = localStorage.getItem(KEY);
    return value === 'light' || value === 'dark' ? value : 'system';
  } catch {
    return 'system';
  }
}

/**
 * @param {Choice} choice
 * @returns {'light' | 'dark'}
 */
function shown(choice) {
  if (choice !== 'system') return choice;
  return system.matches ? 'dark' : 'light';
}

/** @param {Choice} choice */
export function chooseTheme(choice) {
  try {
    localStorage.setItem(KEY, choice);
  } catch {
    // It holds for this tab.
  }
  themeChoice.set(choice);
  apply();
}

function apply() {
  const next = shown(themeChoice.get());
  document.documentElement.dataset.theme = next;
  theme.set(next);
}

system.addEventListener('change', apply);
