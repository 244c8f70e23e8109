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
