// Who is signed in, and what they may do.
import { getJson, isSignedOut } from '../api/http.js';
import { createStore } from './store.js';
import { useStore } from './use_store.js';

/** @typedef {import('../api/types.js').Account} Account */
/** @typedef {Account['role']} Role */

/** Each may do all that the ones before it may. */
const ROLES = /** @type {Role[]} */ (['read', 'write', 'manage', 'admin']);
const RETRY_MS = 3_000;

/** Null until it is known. */
export const account = createStore(/** @type {Account | null} */ (null));

/** Asks again, also after a session has ended: it may have begun again in another tab. */
export async function loadAccount() {
  try {
    account.set(await getJson('me', {}, { evenSignedOut: true }));
    isSignedOut.set(false);
  } catch {
    if (account.get() === null && !isSignedOut.get()) setTimeout(loadAccount, RETRY_MS);
  }
}

export function startAccount() {
  void loadAccount();
  document.addEventListener('visibilitychange', () => document.hidden || void loadAccount());
}

/**
 * Whether somebody may do what a role may: nothing until that is known.
 * @param {Role} role
 */
export const useMay = (role) => mayAs(useStore(account)?.role, role);

/**
 * @param {Role | undefined} own
 * @param {Role} needed
 */
export const mayAs = (own, needed) => own !== undefined && ROLES.indexOf(own) >= ROLES.indexOf(needed);
