// When panels are drawn: in the next frame, few at a time, and stretched while the range moves.

/** @typedef {import('./charts.js').Drawn} Drawn */

/** How many panels draw their lines in one frame; the others follow in the next ones, so that the page stays responsive. */
const DRAWN_A_FRAME = 4;

export class DrawingQueue {
  /** @type {Set<Drawn>} */
  panels = new Set();
  /** Whether the range changes with every frame: then pictures are stretched. */
  isMoving = false;
  /** @type {Set<Drawn>} */
  #dirty = new Set();
  #frame = 0;
  #hasTurn = true;
  /** @type {Set<() => void>} */
  #listeners = new Set();
  #isMoved = false;

  close() {
    cancelAnimationFrame(this.#frame);
  }

  /** While the range moves, one panel a frame may draw its lines, so that the frame is in time. */
  takeExactTurn() {
    const hasTurn = this.#hasTurn;
    this.#hasTurn = false;
    return hasTurn;
  }

  /** @param {Drawn} panel */
  add(panel) {
    this.panels.add(panel);
    return () => {
      this.panels.delete(panel);
      this.#dirty.delete(panel);
    };
  }

  /**
   * Adds a listener that is called in a frame in which the range or the data have changed.
   * @param {() => void} listener
   */
  onFrame(listener) {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** The range or the extent of the data has changed: listeners are called in the next frame. */
  noteMove() {
    this.#isMoved = true;
  }

  drawAll() {
    this.noteMove();
    for (const panel of this.panels) this.draw(panel);
  }

  /** @param {Drawn} panel in the next frame */
  draw(panel) {
    this.#dirty.add(panel);
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => this.#drawDirty());
  }

  #drawDirty() {
    this.#frame = 0;
    this.#hasTurn = true;
    const panels = [...this.#dirty].filter((panel) => panel.isSeen);
    this.#dirty.clear();
    const now = this.isMoving ? panels : panels.slice(0, DRAWN_A_FRAME);
    for (const panel of now) panel.draw();
    for (const panel of panels.slice(now.length)) this.draw(panel);
    if (this.#isMoved) for (const listener of this.#listeners) listener();
    this.#isMoved = false;
  }
}
