// A saved view leads to what was saved.
import { useEffect, useState } from 'preact/hooks';
import { getJson } from '../api/http.js';
import { html } from '../parts/html.js';
import { navigate } from '../state/router.js';
import { viewPath } from '../state/views.js';

/** @param {{viewId: string}} props */
export function SavedView({ viewId }) {
  const [problem, setProblem] = useState('');
  useEffect(() => {
    getJson(`views/${encodeURIComponent(viewId)}`).then(
      ({ view }) => navigate(viewPath(view), { replace: true }),
      (error) => setProblem(error.message),
    );
  }, [viewId]);
  if (!problem) return html`<div class="loading" aria-busy="true"></div>`;
  return html`<div class="face" role="alert"><h2>There is no such view</h2><p>${problem}</p><p><a href="./">All runs</a></p></div>`;
}
