// Notes in Markdown. The libraries are loaded when the first note is shown.
import { useEffect, useState } from 'preact/hooks';
import { html } from './html.js';

/** @param {{text: string}} props */
export function Markdown({ text }) {
  const [shown, setShown] = useState('');
  useEffect(() => {
    let isCurrent = true;
    rendered(text).then(
      (safe) => isCurrent && setShown(safe),
      () => isCurrent && setShown(''),
    );
    return () => void (isCurrent = false);
  }, [text]);
  // Until then, and without the libraries, the note as it was written.
  if (!shown) return html`<pre class="note">${text}</pre>`;
  return html`<div class="note" dangerouslySetInnerHTML=${{ __html: shown }}></div>`;
}

/**
 * HTML in which no script, form or style can be.
 * @param {string} text
 * @returns {Promise<string>}
 */
async function rendered(text) {
  const [{ marked }, { default: purify }] = await Promise.all([import('marked'), import('dompurify')]);
  const unsafe = await marked.parse(text, { gfm: true, breaks: true });
  return purify.sanitize(unsafe, { USE_PROFILES: { html: true }, FORBID_TAGS: ['style', 'form', 'input', 'button'], FORBID_ATTR: ['style', 'id', 'name'] });
}
