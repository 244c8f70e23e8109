// What is related on screen as a picture or as a table.
import { download, quoted } from '../charts/export.js';
import { SvgPen } from '../charts/svg_pen.js';
import { drawnTheme } from '../charts/theme.js';
import { drawPicture, TOP, xOfAxis } from './pictures.js';

/** @typedef {import('../api/types.js').Run} Run */
/** @typedef {import('./axis.js').Axis} Axis */
/** @typedef {import('./pictures.js').Picture} Picture */

const [WIDTH, HEIGHT] = [1200, 480];
const NAME = 'params and metrics';

/**
 * @param {Omit<Picture, 'width' | 'height'>} shown
 * @param {Run[]} runs
 * @param {Axis} colourAxis
 * @returns {import('../charts/menu.js').Entry[]}
 */
export function exportsOf(shown, runs, colourAxis) {
  const picture = { ...shown, width: WIDTH, height: HEIGHT };
  return [
    { label: 'Save as PNG', run: () => void toPng(picture, colourAxis).then((blob) => blob && download(`${NAME}.png`, blob)) },
    { label: 'Save as SVG', run: () => download(`${NAME}.svg`, new Blob([toSvg(picture, colourAxis)], { type: 'image/svg+xml' })) },
    { label: 'Save as CSV', run: () => download(`${NAME}.csv`, new Blob([toCsv(picture, runs, colourAxis)], { type: 'text/csv' })) },
  ];
}

/**
 * With the names of the axes, which the page has above the canvas.
 * @param {import('../charts/drawing.js').Pen} pen
 * @param {Picture} picture
 * @param {Axis} colourAxis
 */
function drawWhole(pen, picture, colourAxis) {
  const theme = drawnTheme(1);
  pen.fillStyle = theme.paper;
  pen.beginPath();
  pen.rect(0, 0, picture.width, picture.height);
  pen.fill();
  drawPicture(pen, picture, theme);
  pen.fillStyle = theme.ink;
  pen.textBaseline = 'middle';
  pen.textAlign = 'center';
  pen.font = `600 ${theme.font}`;
  const [x, y] = picture.axes;
  if (picture.kind === 'scatter') pen.fillText(`${y.label} over ${x.label}`, picture.width / 2, TOP / 2);
  else picture.axes.forEach((axis, index) => pen.fillText(axis.label.slice(0, 24), xOfAxis(picture, index), TOP / 2));
  pen.textAlign = 'right';
  pen.font = theme.font;
  pen.fillText(`colour: ${colourAxis.label}`, picture.width - 8, picture.height - 8);
}

/**
 * @param {Picture} picture
 * @param {Axis} colourAxis
 * @returns {Promise<Blob | null>}
 */
function toPng(picture, colourAxis) {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [2 * picture.width, 2 * picture.height];
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  pen.scale(2, 2);
  drawWhole(pen, picture, colourAxis);
  return new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
}

/**
 * @param {Picture} picture
 * @param {Axis} colourAxis
 */
function toSvg(picture, colourAxis) {
  const pen = new SvgPen(picture.width, picture.height);
  drawWhole(pen, picture, colourAxis);
  return String(pen);
}

/**
 * A row a run that is not faint.
 * @param {Picture} picture
 * @param {Run[]} runs
 * @param {Axis} colourAxis
 */
export function toCsv(picture, runs, colourAxis) {
  const axes = picture.axes.includes(colourAxis) || picture.axes.some((axis) => axis.id === colourAxis.id) ? picture.axes : [...picture.axes, colourAxis];
  const rows = [['run', 'run_id', ...axes.map((axis) => quoted(axis.label))].join(',')];
  runs.forEach((run, index) => {
    if (!picture.isStrong[index]) return;
    const values = axes.map((axis) => axis.values[index]);
    rows.push([quoted(run.name), run.run_id, ...values.map((value) => (typeof value === 'string' ? quoted(value) : (value ?? '')))].join(','));
  });
  return `${rows.join('\n')}\n`;
}
