// Stores in components.
import { useEffect, useState } from 'preact/hooks';

/**
 * The store's value; the component is drawn again when it changes.
 * @template T
 * @param {import('./store.js').Store<T>} store
 * @returns {T}
 */
export function useStore(store) {
  const [value, setValue] = useState(store.get());
  useEffect(() => {
    const update = () => setValue(() => store.get());
    update(); // it may have changed between drawing and this
    return store.subscribe(update);
  }, [store]);
  return value;
}
