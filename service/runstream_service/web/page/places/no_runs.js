// A table without runs says how they come.
import { html } from '../parts/html.js';
import { experiments } from '../state/experiments.js';
import { setQuery } from '../state/router.js';
import { useStore } from '../state/use_store.js';

/** @param {{experimentId: string, filter: string, lifecycle: string}} props */
export function NoRuns({ experimentId, filter, lifecycle }) {
  const all = useStore(experiments);
  if (filter !== '') {
    return html`
      <div class="face">
        <h2>No run matches the filter</h2>
        <div class="actions"><button onClick=${() => setQuery({ filter: null })}>Clear the filter</button></div>
      </div>
    `;
  }
  if (lifecycle === 'deleted') {
    return html`<div class="face"><h2>No deleted runs</h2><p>Runs that are deleted stay here until they are purged.</p></div>`;
  }
  const name = all?.find((one) => one.experiment_id === experimentId)?.name ?? 'digits';
  const code = `with runstream.start_run(experiment=${JSON.stringify(name)}) as run:\n    run.log({"loss": 0.5}, step=1)`;
  return html`
    <div class="face">
      <h2>No runs yet</h2>
      <p>After <code>import runstream</code>, two lines log the first run:</p>
      <pre>${code}</pre>
      <p>Scripts that use MLflow only need this service as their tracking URI:</p>
      <pre>${`mlflow.set_tracking_uri("${document.baseURI.replace(/\/$/, '')}")`}</pre>
    </div>
  `;
}
