// Requests to the page's own API.
import { createStore } from '../state/store.js';

const SIGNED_OUT = 'You are signed out. Sign in again to continue.';

/** Whether the session has ended. Then no requests are sent until the user signs in again: they would all be refused. */
export const isSignedOut = createStore(false);

/** An error that the service reports, or that it cannot be reached (status 0). */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {{status: number, code?: string, field?: string, position?: number}} about
   */
  constructor(message, about) {
    super(message);
    this.name = 'ApiError';
    this.status = about.status;
    this.code = about.code ?? '';
    this.field = about.field ?? '';
    this.position = about.position;
  }

  /** Whether the same request may succeed later. */
  get isTemporary() {
    return this.status === 0 || this.status === 429 || this.status === 503;
  }
}

/** @typedef {{signal?: AbortSignal, evenSignedOut?: boolean}} Options */

/**
 * @param {string} path below web/api/
 * @param {Record<string, string>} [query]
 * @param {Options} [options]
 * @returns {Promise<any>} its JSON
 */
export async function getJson(path, query = {}, options = {}) {
  const text = new URLSearchParams(query).toString();
  const answer = await ask(text ? `${path}?${text}` : path, { signal: options.signal }, options.evenSignedOut);
  return answer.json();
}

/**
 * @param {'POST' | 'PUT' | 'DELETE'} method
 * @param {string} path below web/api/
 * @param {object} [body]
 * @param {Options} [options]
 * @returns {Promise<any>} its JSON
 */
export async function sendJson(method, path, body, options = {}) {
  const answer = await ask(path, {
    method,
    signal: options.signal,
    ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  });
  return answer.json();
}

/**
 * @param {string} path
 * @param {object} body
 * @param {Options} [options]
 * @returns {Promise<any>}
 */
export const postJson = (path, body, options) => sendJson('POST', path, body, options);

/**
 * The binary response to a POST.
 * @param {string} path
 * @param {object} body
 * @param {Options} [options]
 * @returns {Promise<ArrayBuffer>}
 */
export async function postForArrays(path, body, options = {}) {
  const answer = await ask(path, {
    method: 'POST',
    signal: options.signal,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return answer.arrayBuffer();
}

/**
 * @param {string} path
 * @param {RequestInit} init
 * @param {boolean} [evenSignedOut]
 */
async function ask(path, init, evenSignedOut = false) {
  if (isSignedOut.get() && !evenSignedOut) throw signedOut();
  let answer;
  try {
    answer = await fetch(`web/api/${path}`, init);
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError('The service does not respond. The page tries again automatically.', { status: 0 });
  }
  if (answer.ok) return answer;
  throw await errorOf(answer);
}

/** @param {Response} answer */
async function errorOf(answer) {
  if (answer.status === 401) {
    isSignedOut.set(true);
    return signedOut();
  }
  try {
    const { error } = await answer.json();
    return new ApiError(error.message, { status: answer.status, ...error });
  } catch {
    return new ApiError(`The service answered with status ${answer.status}.`, { status: answer.status });
  }
}

const signedOut = () => new ApiError(SIGNED_OUT, { status: 401, code: 'UNAUTHENTICATED' });

/**
 * Ends the session.
 * @returns {Promise<string>} where to go next: the page for signing in, or the provider
 */
export async function signOut() {
  const url = new URL('signout', document.baseURI);
  const answer = await fetch(url, { method: 'POST', headers: { accept: 'application/json' } });
  if (!answer.ok) throw await errorOf(answer);
  return new URL((await answer.json()).location, url).href;
}
