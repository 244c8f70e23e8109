// Reads that are repeated while a run is running.
import { useEffect } from 'preact/hooks';

/**
 * Calls `read` at once, and then in intervals while the run is running and the page is visible. The signal is aborted when one
 * of `inputs` changes, or when the component is removed.
 * @param {(signal: AbortSignal) => Promise<unknown>} read
 * @param {{isRunning: boolean, everyMs: number}} when
 * @param {string[]} inputs
 */
export function useRefreshed(read, { isRunning, everyMs }, inputs) {
  useEffect(() => {
    const request = new AbortController();
    void read(request.signal);
    const timer = isRunning ? setInterval(() => document.visibilityState === 'visible' && void read(request.signal), everyMs) : undefined;
    return () => {
      request.abort();
      clearInterval(timer);
    };
  }, [...inputs, isRunning]);
}
