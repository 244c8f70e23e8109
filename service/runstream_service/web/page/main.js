// The start of the page.
import { render } from 'preact';
import { html } from './parts/html.js';
import { preloadPlaces, Shell } from './shell/shell.js';
import { startAccount } from './state/account.js';
import { startAhead } from './state/ahead.js';
import { startExperiments } from './state/experiments.js';
import { startRouter } from './state/router.js';

startRouter();
startAccount();
startExperiments();
render(html`<${Shell} />`, /** @type {Element} */ (document.getElementById('page')));
startAhead(preloadPlaces);
