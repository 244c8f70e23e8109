// The box with the filter: it completes keys, and shows an error at its place.
import { useEffect, useRef, useState } from 'preact/hooks';
import { html } from '../parts/html.js';
import { searchIcon } from '../parts/icons.js';
import { complete, placeInText } from './completion.js';

/**
 * @param {{value: string, keys: import('../api/types.js').Keys, error: import('../api/http.js').ApiError | null,
 *   onChange: (text: string) => void}} props
 */
export function FilterBox({ value, keys, error, onChange }) {
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [text, setText] = useState(value);
  const [found, setFound] = useState(/** @type {{from: number, options: string[]}} */ ({ from: 0, options: [] }));
  const [at, setAt] = useState(-1);
  useEffect(() => setText(value), [value]);
  useEffect(() => focusBySlash(input), []);
  useEffect(() => {
    // They may come while somebody types.
    if (input.current && input.current === document.activeElement && text) offer(input.current);
  }, [keys]);

  const close = () => (setFound({ from: 0, options: [] }), setAt(-1));
  const offer = (/** @type {HTMLInputElement} */ element) => {
    setFound(complete(element.value, element.selectionStart ?? element.value.length, keys));
    setAt(-1);
  };
  const choose = (/** @type {string} */ option) => {
    const element = /** @type {HTMLInputElement} */ (input.current);
    const after = element.value.slice(element.selectionStart ?? element.value.length);
    const before = `${element.value.slice(0, found.from)}${option}${option.endsWith(' ') ? '' : ' '}`;
    element.value = before + after;
    element.setSelectionRange(before.length, before.length);
    setText(element.value);
    element.focus();
    offer(element);
  };
  const apply = () => (close(), onChange(text.trim()));
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    const many = found.options.length;
    if (event.key === 'ArrowDown' && many > 0) setAt((at + 1) % many);
    else if (event.key === 'ArrowUp' && many > 0) setAt((at + many) % (many + 1) === many ? -1 : at - 1);
    else if (event.key === 'Tab' && many > 0 && !event.shiftKey && text) choose(/** @type {string} */ (found.options[Math.max(0, at)]));
    else if (event.key === 'Enter') at >= 0 ? choose(/** @type {string} */ (found.options[at])) : apply();
    else if (event.key === 'Escape') many > 0 ? close() : input.current?.blur();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const isOpen = found.options.length > 0;
  return html`
    <div class="filter">
      ${searchIcon()}
      <input ref=${input} type="text" role="combobox" aria-label="Filter runs" aria-expanded=${isOpen} aria-controls="filter-options"
        aria-activedescendant=${at >= 0 ? `filter-${at}` : undefined} aria-autocomplete="list" aria-invalid=${error !== null}
        aria-describedby=${error ? 'filter-error' : undefined} placeholder="Filter: a name, or metrics.loss < 0.1 AND params.lr = '0.01'"
        autocomplete="off" spellcheck=${false} value=${text} onKeyDown=${onKeyDown} onBlur=${() => (close(), text.trim() !== value && onChange(text.trim()))}
        onInput=${(/** @type {any} */ event) => (setText(event.target.value), offer(event.target))} onFocus=${(/** @type {any} */ event) => text && offer(event.target)} />
      ${text !== '' && html`<button class="plain clear" tabindex="-1" aria-label="Clear the filter" onMouseDown=${(/** @type {Event} */ event) => event.preventDefault()}
        onClick=${() => (setText(''), close(), onChange(''))}>×</button>`}
      <ul id="filter-options" role="listbox" aria-label="Completions" hidden=${!isOpen}>
        ${found.options.map((option, index) => html`
          <li key=${option} id=${`filter-${index}`} role="option" aria-selected=${index === at}
            onMouseDown=${(/** @type {Event} */ event) => (event.preventDefault(), choose(option))}>${option}</li>
        `)}
      </ul>
      ${error && html`<${FilterError} text=${value} error=${error} />`}
    </div>
  `;
}

/** @param {{text: string, error: import('../api/http.js').ApiError}} props */
function FilterError({ text, error }) {
  const position = error.position === undefined ? undefined : placeInText(text, error.position);
  return html`
    <div id="filter-error" class="filter-error" role="alert">
      ${position !== undefined && html`<pre aria-hidden="true">${text.slice(0, position)}<mark>${text.slice(position) || ' '}</mark></pre>`}
      <p>${error.message}</p>
    </div>
  `;
}

/** @param {import('preact').RefObject<HTMLInputElement | null>} input */
function focusBySlash(input) {
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== '/' || /** @type {Element} */ (event.target).matches('input, textarea, select, dialog *')) return;
    event.preventDefault();
    input.current?.focus();
  };
  document.addEventListener('keydown', onKeyDown);
  return () => document.removeEventListener('keydown', onKeyDown);
}
