// Small pictures. Each stands next to a word, or its button has a label.
import { html } from './html.js';

/** @param {string} d */
const stroke = (d) => html`
  <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" fill="none" stroke="currentColor"
    stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round"><path d=${d} /></svg>
`;

export const searchIcon = () => stroke('M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10Zm3.6-1.4L14 14');
export const sunIcon = () =>
  stroke('M8 10.8a2.8 2.8 0 1 0 0-5.6 2.8 2.8 0 0 0 0 5.6ZM8 1.2v1.3M8 13.5v1.3M1.2 8h1.3M13.5 8h1.3M3.2 3.2l.9.9M11.9 11.9l.9.9M3.2 12.8l.9-.9M11.9 4.1l.9-.9');
export const moonIcon = () => stroke('M13.5 9.6A6 6 0 0 1 6.4 2.5a6 6 0 1 0 7.1 7.1Z');
export const systemIcon = () => stroke('M2 3h12v8H2ZM6 14h4M8 11v3');
export const menuIcon = () => stroke('M2.5 4h11M2.5 8h11M2.5 12h11');
export const columnsIcon = () => stroke('M2 3h12v10H2ZM6 3v10M10 3v10');
export const closeIcon = () => stroke('M4 4l8 8M12 4l-8 8');
export const chevronIcon = () => stroke('M6 4l4 4-4 4');
export const upIcon = () => stroke('M8 13V3M4 7l4-4 4 4');
export const downIcon = () => stroke('M8 3v10M4 9l4 4 4-4');
export const starIcon = () => stroke('M8 2l1.8 3.8 4.2.5-3.1 2.9.8 4.1L8 11.3l-3.7 2 .8-4.1L2 6.3l4.2-.5Z');
export const personIcon = () => stroke('M8 8a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM2.5 14a5.5 5.5 0 0 1 11 0');
export const logo = () => html`
  <svg viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="7" fill="#2b59c3" />
    <path d="M5 24c4 0 4-14 8-14s4 8 7 8 3-6 7-6" fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round" /></svg>
`;
