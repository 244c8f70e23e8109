// A pen that writes SVG: it has what drawing.js needs of a canvas' context.

/** In the form of a Pen, see drawing.js. */
export class SvgPen {
  /** @type {CanvasRenderingContext2D['strokeStyle']} */
  strokeStyle = '#000';
  /** @type {CanvasRenderingContext2D['fillStyle']} */
  fillStyle = '#000';
  lineWidth = 1;
  globalAlpha = 1;
  /** @type {CanvasLineJoin} */
  lineJoin = 'round';
  font = '11px sans-serif';
  /** @type {CanvasTextAlign} */
  textAlign = 'left';
  /** @type {CanvasTextBaseline} */
  textBaseline = 'alphabetic';
  #path = '';
  /** @type {number[]} */
  #dash = [];
  /** @type {string[]} */
  #parts = [];
  #clips = 0;
  #open = 0;

  /**
   * @param {number} width
   * @param {number} height
   */
  constructor(width, height) {
    this.width = width;
    this.height = height;
  }

  beginPath() {
    this.#path = '';
  }

  /**
   * @param {number} x
   * @param {number} y
   */
  moveTo(x, y) {
    this.#path += `M${short(x)} ${short(y)}`;
  }

  /**
   * @param {number} x
   * @param {number} y
   */
  lineTo(x, y) {
    this.#path += `L${short(x)} ${short(y)}`;
  }

  closePath() {
    this.#path += 'Z';
  }

  /**
   * @param {number} x
   * @param {number} y
   * @param {number} width
   * @param {number} height
   */
  rect(x, y, width, height) {
    this.#path += `M${short(x)} ${short(y)}h${short(width)}v${short(height)}h${short(-width)}Z`;
  }

  fill() {
    if (this.#path) this.#parts.push(`<path d="${this.#path}" fill="${escaped(String(this.fillStyle))}"${this.#alpha('fill')}/>`);
  }

  stroke() {
    const dash = this.#dash.length > 0 ? ` stroke-dasharray="${this.#dash.map(short).join(' ')}"` : '';
    const look = `fill="none" stroke="${escaped(String(this.strokeStyle))}" stroke-width="${short(this.lineWidth)}" stroke-linejoin="${this.lineJoin}"`;
    if (this.#path) this.#parts.push(`<path d="${this.#path}" ${look}${dash}${this.#alpha('stroke')}/>`);
  }

  save() {}

  restore() {
    this.#parts.push('</g>'.repeat(this.#open));
    this.#open = 0;
  }

  clip() {
    const id = `clip${++this.#clips}`;
    this.#parts.push(`<clipPath id="${id}"><path d="${this.#path}"/></clipPath><g clip-path="url(#${id})">`);
    this.#open++;
  }

  /** @param {number[]} dash */
  setLineDash(dash) {
    this.#dash = [...dash];
  }

  /**
   * @param {string} text
   * @param {number} x
   * @param {number} y
   */
  fillText(text, x, y) {
    this.#text(text, x, y, `fill="${escaped(String(this.fillStyle))}"`);
  }

  /**
   * @param {string} text
   * @param {number} x
   * @param {number} y
   */
  strokeText(text, x, y) {
    this.#text(text, x, y, `fill="none" stroke="${escaped(String(this.strokeStyle))}" stroke-width="${short(this.lineWidth)}" stroke-linejoin="${this.lineJoin}"`);
  }

  /**
   * @param {string} text
   * @param {number} x
   * @param {number} y
   * @param {string} look
   */
  #text(text, x, y, look) {
    const anchor = { left: 'start', start: 'start', center: 'middle', right: 'end', end: 'end' }[this.textAlign];
    const size = Number(/([\d.]+)px/.exec(this.font)?.[1] ?? 11);
    const shift = { top: 0.8, hanging: 0.8, middle: 0.35, bottom: -0.2, alphabetic: 0, ideographic: 0 }[this.textBaseline] * size;
    const weight = this.font.startsWith('600') ? ' font-weight="600"' : '';
    this.#parts.push(`<text x="${short(x)}" y="${short(y + shift)}" text-anchor="${anchor}" font-family="system-ui, sans-serif" font-size="${size}"${weight} ${look}>${escaped(text)}</text>`);
  }

  /** @param {'fill' | 'stroke'} what */
  #alpha(what) {
    return this.globalAlpha < 1 ? ` ${what}-opacity="${short(this.globalAlpha)}"` : '';
  }

  toString() {
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${this.width}" height="${this.height}" viewBox="0 0 ${this.width} ${this.height}">${this.#parts.join('')}</svg>`;
  }
}

/** @param {number} value */
const short = (value) => String(Math.round(value * 100) / 100);

/** @param {string} text */
const escaped = (text) => text.replace(/[&<>"]/g, (character) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[character] ?? '');
