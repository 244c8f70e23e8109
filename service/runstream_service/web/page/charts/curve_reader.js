// Asks for the curves of a metric: of single ranks or a band over them, and what newer attempts replaced.
import { ChartRequests } from '../api/charts.js';
import { postForArrays } from '../api/http.js';
import { bandOfRanks } from './band_of_ranks.js';
import { Curve } from './curve.js';
import { replacedRanges } from './replaced.js';
import { logOriginOf, positionsOf } from './x_axis.js';

/** @typedef {import('../api/types.js').Run} Run */
/** @typedef {import('./metric_data.js').Zoom} Zoom */
/** @typedef {import('./charts.js').Charts} Charts */

/**
 * @typedef {object} How
 * @property {Zoom | null} zoom null: everything
 * @property {number} buckets
 * @property {boolean} isDraft few buckets are enough where more would take long
 * @property {AbortSignal} signal
 */

/** @typedef {{min?: number, max?: number, log_origin?: number}} Bounds positions, both included, and where a logarithmic axis begins */
/** @typedef {{curves: Curve[], cut: string, isDraft: boolean}} Answer */

const BAND_BUCKETS = 400;
/** The most ranks that are drawn of a run. */
const RANK_CURVES = 32;

export class CurveReader {
  #requests = new ChartRequests(postForArrays);

  /** @param {Charts} charts they say for which runs and ranks, over which axis */
  constructor(charts) {
    this.charts = charts;
  }

  /**
   * @param {string} key
   * @param {How} how
   * @returns {Promise<import('./metric_data.js').Curves>}
   */
  async read(key, how) {
    const { axis, runs } = this.charts;
    const isOwn = axis.kind === 'relative' || axis.kind === 'metric'; // runs have positions of their own
    const groups = isOwn && (how.zoom || this.#isLog) ? runs.map((run) => [run]) : [runs];
    const [answers, replaced] = await Promise.all([
      Promise.all(groups.flatMap((some) => this.#questions(key, some, how))),
      Promise.all(runs.map((run) => this.#askReplaced(key, run, how))),
    ]);
    const cut = answers.map((answer) => answer.cut).find((one) => one !== '') ?? '';
    const isDraft = answers.some((answer) => answer.isDraft);
    return { curves: answers.flatMap((answer) => answer.curves), replaced: replaced.flat(), cut, isDraft };
  }

  get #isLog() {
    return this.charts.view?.log_x ?? false;
  }

  /** @param {import('./x_axis.js').StartedRun} run */
  #logOrigin(run) {
    return this.#isLog ? logOriginOf(this.charts.axis, run) : undefined;
  }

  /**
   * @param {string} key
   * @param {import('./x_axis.js').StartedRun[]} runs with the same positions
   * @param {How} how
   * @returns {Promise<Answer>[]}
   */
  #questions(key, runs, how) {
    const { charts } = this;
    const { zoom } = how;
    if (runs.length === 0) return [];
    const range = zoom ? positionsOf(charts.axis, runs[0], charts.axisMetricOf(runs[0].run_id), zoom) : null;
    if (zoom && !range) return [];
    /** @type {Bounds} */
    const bounds = { ...(range ? { min: range[0], max: range[1] } : {}), log_origin: this.#logOrigin(runs[0]) };
    const banded = runs.filter((run) => charts.isBand(run.run_id));
    const single = runs.filter((run) => !charts.isBand(run.run_id)).map((run) => run.run_id);
    const questions = banded.map((run) => this.#askBand(key, run, bounds, how));
    if (single.length > 0) questions.push(this.#askSingle(key, single, bounds, how));
    return questions;
  }

  /**
   * @param {string} key
   * @param {string[]} runIds
   * @param {Bounds} bounds
   * @param {How} how
   * @returns {Promise<Answer>}
   */
  async #askSingle(key, runIds, bounds, { buckets, isDraft, signal }) {
    const question = { run_ids: runIds, key, axis: this.charts.axis.positions, max_buckets: buckets, draft: isDraft || undefined, ...bounds };
    const { curves, cut } = await this.#requests.ask(question, signal);
    const shown = curves.filter((curve) => this.#isWanted(curve.rank));
    const left = shown.length - RANK_CURVES * runIds.length;
    const words = left > 0 ? `${left} more ranks are not drawn: choose fewer ranks, or one band for all ranks.` : (cut?.message ?? '');
    return {
      curves: shown.slice(0, RANK_CURVES * runIds.length).map((curve) => Curve.of(curve)),
      cut: words,
      isDraft: shown.some((curve) => curve.is_draft),
    };
  }

  /**
   * @param {string} key
   * @param {Run} run
   * @param {Bounds} bounds
   * @param {How} how
   * @returns {Promise<Answer>}
   */
  async #askBand(key, run, bounds, { buckets, signal }) {
    const most = Math.min(buckets, BAND_BUCKETS);
    if (this.charts.axis.positions === 'step') {
      const { curves } = await this.#requests.aggregate({ run_id: run.run_id, key, max_buckets: most, ...bounds }, signal);
      return { curves: curves.filter((curve) => curve.count > 0).map((curve) => Curve.of(curve)), cut: '', isDraft: false };
    }
    const question = { run_ids: [run.run_id], key, axis: this.charts.axis.positions, max_buckets: most, ...bounds };
    const { curves, cut } = await this.#requests.ask(question, signal);
    const band = curves.length > 0 ? [bandOfRanks(curves.map((curve) => Curve.of(curve)), most, bounds.log_origin)] : [];
    return { curves: band, cut: cut?.message ?? '', isDraft: false };
  }

  /**
   * What older attempts of a run wrote beyond the first step of a newer one. Only steps say what was replaced.
   * @param {string} key
   * @param {Run} run
   * @param {How} how
   * @returns {Promise<Curve[]>}
   */
  async #askReplaced(key, run, { zoom, buckets, signal }) {
    const { axis, overviews } = this.charts;
    const overview = overviews.get(run.run_id);
    if (axis.kind !== 'step' || !overview || overview.ranks.length > RANK_CURVES) return [];
    const answers = replacedRanges(overview, key, zoom).map(async ({ attempt, min, max, share }) => {
      const log_origin = this.#logOrigin(run);
      const most = Math.ceil((log_origin === undefined ? share : 1) * Math.min(buckets, BAND_BUCKETS)); // as wide as those of what counts
      const question = { run_ids: [run.run_id], key, axis: axis.positions, max_buckets: most, attempt, min, max, log_origin };
      const { curves } = await this.#requests.ask(question, signal);
      const shown = curves.filter((curve) => curve.count > 0 && this.#isWanted(curve.rank)).map((curve) => Curve.of(curve));
      return shown.length > 0 && this.charts.isBand(run.run_id) ? [bandOfRanks(shown, most, log_origin)] : shown;
    });
    return (await Promise.all(answers)).flat();
  }

  /** @param {number | null} rank null: over all ranks */
  #isWanted(rank) {
    const ranks = this.charts.view?.ranks ?? 'band';
    return rank === null || ranks === 'band' || ranks === 'all' || ranks.split(',').includes(String(rank));
  }
}
