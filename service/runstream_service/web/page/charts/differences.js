// Which params of some runs differ.

/** @typedef {import('../api/types.js').Run} Run */
/** @typedef {{name: string, values: (string | undefined)[], differs: boolean}} Row */

/**
 * A row a param, those that differ first.
 * @param {Run[]} runs
 * @returns {Row[]}
 */
export function differences(runs) {
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.params)))].sort();
  const rows = names.map((name) => {
    const values = runs.map((run) => (Object.hasOwn(run.params, name) ? run.params[name] : undefined));
    return { name, values, differs: values.some((value) => value !== values[0]) };
  });
  return [...rows.filter((row) => row.differs), ...rows.filter((row) => !row.differs)];
}

/**
 * Where runs lie between a param and a metric. Params that are no numbers are at places in the order of their names.
 * @param {Run[]} runs
 * @param {string} param
 * @param {string} metric
 * @returns {{points: {run: Run, x: number, y: number}[], names: string[] | null}}
 */
export function scatterOf(runs, param, metric) {
  const known = runs.filter((run) => Object.hasOwn(run.params, param) && typeof run.metrics?.[metric]?.latest === 'number');
  const texts = known.map((run) => run.params[param]);
  const isNumeric = texts.every((text) => text.trim() !== '' && Number.isFinite(Number(text)));
  const names = isNumeric ? null : [...new Set(texts)].sort();
  const points = known.map((run, index) => ({
    run,
    x: names ? names.indexOf(texts[index]) : Number(texts[index]),
    y: Number(run.metrics?.[metric].latest),
  }));
  return { points, names };
}
