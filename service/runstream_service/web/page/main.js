// The start of the page.
import { render } from 'preact';
import { html } from './parts/html.js';
import { Shell } from './shell/shell.js';
import { startRouter } from './state/router.js';

startRouter();
render(html`<${Shell} />`, /** @type {Element} */ (document.getElementById('page')));
