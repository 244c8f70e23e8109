// The list of runs in a table while it is live: nothing that somebody looks at may move without need.

/** @typedef {import('../api/types.js').Run} Run */

/**
 * The list after its first page was read again. Values are replaced in place. New runs are inserted where they belong,
 * those that are gone (deleted, or matching no more) leave; all others keep their order.
 * @param {Run[]} rows
 * @param {number} headSize how long the first page was before
 * @param {Run[]} head the first page as it is now
 * @returns {Run[]}
 */
export function mergeHead(rows, headSize, head) {
  const fresh = new Map(head.map((run) => [run.run_id, run]));
  const known = new Set(rows.map((run) => run.run_id));
  const added = head.filter((run) => !known.has(run.run_id));
  // As many runs as were added may have been pushed off the first page; they are still there, after it.
  const certain = Math.max(0, headSize - added.length);
  const kept = rows.filter((run, index) => index >= certain || fresh.has(run.run_id)).map((run) => fresh.get(run.run_id) ?? run);
  return insert(kept, head, new Set(added.map((run) => run.run_id)));
}

/**
 * The list with its first page in the order that it has now; what comes after stays.
 * @param {Run[]} rows
 * @param {Iterable<string>} order ids of the first page
 * @returns {Run[]} the same list if nothing moves
 */
export function inOrderOf(rows, order) {
  const byId = new Map(rows.map((run) => [run.run_id, run]));
  const head = [...order].flatMap((id) => byId.get(id) ?? []);
  if (head.every((run, index) => rows[index] === run)) return rows;
  const ids = new Set(head.map((run) => run.run_id));
  return [...head, ...rows.filter((run) => !ids.has(run.run_id))];
}

/**
 * @param {Run[]} kept
 * @param {Run[]} head
 * @param {Set<string>} added
 */
function insert(kept, head, added) {
  if (added.size === 0) return kept;
  /** @type {Map<string, Run[]>} */
  const after = new Map(); // new runs by the known one before them
  let before = '';
  for (const run of head) {
    if (added.has(run.run_id)) after.set(before, [...(after.get(before) ?? []), run]);
    else before = run.run_id;
  }
  return [...(after.get('') ?? []), ...kept.flatMap((run) => [run, ...(after.get(run.run_id) ?? [])])];
}

/**
 * Rows with fresh values of some.
 * @param {Run[]} rows
 * @param {Run[]} fresh
 */
export function replaceRuns(rows, fresh) {
  const byId = new Map(fresh.map((run) => [run.run_id, run]));
  return rows.map((run) => byId.get(run.run_id) ?? run);
}

/**
 * Appends a page; runs that moved between two pages stay where they were first.
 * @param {Run[]} rows
 * @param {Run[]} page
 */
export function appendPage(rows, page) {
  const known = new Set(rows.map((run) => run.run_id));
  return [...rows, ...page.filter((run) => !known.has(run.run_id))];
}

/**
 * @typedef {{kind: 'run', run: Run} | {kind: 'group', value: string, count: number, isOpen: boolean}} Line
 */

/**
 * What the table shows: runs, or groups of them in the order in which they first appear.
 * @param {Run[]} rows
 * @param {((run: Run) => string) | null} groupOf
 * @param {ReadonlySet<string>} closed
 * @returns {Line[]}
 */
export function linesOf(rows, groupOf, closed) {
  if (groupOf === null) return rows.map((run) => ({ kind: 'run', run }));
  /** @type {Map<string, Run[]>} */
  const groups = new Map();
  for (const run of rows) {
    const value = groupOf(run);
    const group = groups.get(value);
    if (group) group.push(run);
    else groups.set(value, [run]);
  }
  return [...groups].flatMap(([value, runs]) => {
    const isOpen = !closed.has(value);
    /** @type {Line} */
    const head = { kind: 'group', value, count: runs.length, isOpen };
    return [head, ...(isOpen ? runs.map((run) => /** @type {Line} */ ({ kind: 'run', run })) : [])];
  });
}
