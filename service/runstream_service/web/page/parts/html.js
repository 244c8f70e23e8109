// Tagged templates instead of JSX, so that no build step is needed.
import htm from 'htm';
import { h } from 'preact';

/** @type {(strings: TemplateStringsArray, ...values: any[]) => import('preact').VNode<any>} */
export const html = /** @type {any} */ (htm.bind(/** @type {any} */ (h)));
