// Drags with the pointer.

/**
 * Calls `move` for each move of the pointer until its button is released, and then `up`.
 * @param {(event: PointerEvent) => void} move
 * @param {(event: PointerEvent) => void} up
 */
export function followPointer(move, up) {
  const end = (/** @type {PointerEvent} */ event) => {
    removeEventListener('pointermove', move);
    removeEventListener('pointerup', end);
    up(event);
  };
  addEventListener('pointermove', move);
  addEventListener('pointerup', end);
}
