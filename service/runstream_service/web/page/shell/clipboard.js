// Copies texts to the clipboard.
import { tell } from './toasts.js';

/**
 * Copies a text. Where a page may not write to the clipboard, as over HTTP on another host than localhost, it shows the
 * text, so that the user can copy it.
 * @param {string} text
 * @param {string} message what to show when it is copied
 */
export async function copyText(text, message) {
  try {
    await navigator.clipboard.writeText(text); // `clipboard` is undefined over HTTP
    tell(message);
  } catch {
    prompt('Copy this text:', text);
  }
}
