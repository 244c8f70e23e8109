// Reads the binary responses of charts and aggregate: a small JSON head, then columns of doubles. See docs/web-api.md.

/**
 * @typedef {object} DecodedCurve
 * @property {string} run_id
 * @property {string} key
 * @property {number | null} rank null: over all ranks
 * @property {number | null} attempt
 * @property {number} count
 * @property {boolean} [is_draft] it has fewer buckets than it may
 * @property {Record<string, Float64Array<ArrayBuffer>>} columns views into the answer; nothing is copied
 */

/** @typedef {{curves: DecodedCurve[], cut: {series: number, message: string} | null}} DecodedCharts */

const HEAD_FROM = 8;

/**
 * @param {ArrayBuffer} buffer
 * @returns {DecodedCharts}
 */
export function decodeCharts(buffer) {
  if (buffer.byteLength < HEAD_FROM) throw new RangeError('The answer with charts ends before its head.');
  const headLength = new DataView(buffer).getUint32(0, true);
  let offset = HEAD_FROM + headLength;
  if (offset % 8 !== 0 || offset > buffer.byteLength) throw new RangeError('The answer with charts has a damaged head.');
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, HEAD_FROM, headLength)));
  const curves = head.curves.map((/** @type {DecodedCurve} */ curve) => {
    /** @type {Record<string, Float64Array<ArrayBuffer>>} */
    const columns = {};
    for (const name of head.columns) {
      if (offset + 8 * curve.count > buffer.byteLength) throw new RangeError('The answer with charts ends early.');
      columns[name] = doubles(buffer, offset, curve.count);
      offset += 8 * curve.count;
    }
    return { ...curve, columns };
  });
  return { curves, cut: head.cut };
}

const IS_LITTLE_ENDIAN = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

/**
 * @param {ArrayBuffer} buffer
 * @param {number} offset
 * @param {number} count
 */
function doubles(buffer, offset, count) {
  if (IS_LITTLE_ENDIAN) return new Float64Array(buffer, offset, count);
  const view = new DataView(buffer);
  return Float64Array.from({ length: count }, (_, index) => view.getFloat64(offset + 8 * index, true));
}
