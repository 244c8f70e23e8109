// The one bar on top.
import { html } from '../parts/html.js';
import { logo, menuIcon, moonIcon, searchIcon, sunIcon, systemIcon } from '../parts/icons.js';
import { chooseTheme, themeChoice } from '../state/theme.js';
import { useStore } from '../state/use_store.js';
import { AccountMenu } from './account_menu.js';

const THEMES = /** @type {const} */ ({
  light: { next: 'dark', icon: sunIcon, label: 'Theme: light' },
  dark: { next: 'system', icon: moonIcon, label: 'Theme: dark' },
  system: { next: 'light', icon: systemIcon, label: 'Theme: as the system' },
});
const isMac = /Mac|iP(?:hone|ad)/.test(navigator.userAgent);

/**
 * @param {{hasSide: boolean, isSideOpen: boolean, onSide: () => void, onPalette: () => void, onHelp: () => void}} props
 */
export function TopBar({ hasSide, isSideOpen, onSide, onPalette, onHelp }) {
  const { next, icon, label } = THEMES[useStore(themeChoice)];
  return html`
    <header class="top-bar">
      ${hasSide && html`
        <button class="plain icon-only" aria-label="Experiments and views" aria-expanded=${isSideOpen} onClick=${onSide}>${menuIcon()}</button>
      `}
      <a class="home" href="./">${logo()}<span>runstream</span></a>
      <span class="spacer"></span>
      <button class="search" onClick=${onPalette} aria-keyshortcuts="Control+K">
        ${searchIcon()}<span class="word">Go to</span><kbd aria-hidden="true">${isMac ? '⌘K' : 'Ctrl K'}</kbd>
      </button>
      <span class="spacer"></span>
      <a class="plain-link" href="mlflow/">MLflow</a>
      <button class="plain icon-only" aria-label=${label} title=${label} onClick=${() => chooseTheme(next)}>${icon()}</button>
      <button class="plain icon-only help-button" aria-label="Keyboard shortcuts" title="Keyboard shortcuts" onClick=${onHelp}>?</button>
      <${AccountMenu} />
    </header>
  `;
}
