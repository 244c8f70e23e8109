"""An issuer of JWTs: its public keys, and where its endpoints are, as its documents say.

Documents are fetched when they are needed first. Keys are fetched again after 15 minutes; and at once if a token names
a key that is not known yet (a key was rotated), but at most every ten seconds, since anybody can invent ids of keys.
While the issuer does not answer, what was fetched last stays in use.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey

from runstream_service.errors.core import IssuerUnavailable

log = structlog.get_logger()

# Returns the JSON object at a URL. Raises IssuerUnavailable.
Fetch: TypeAlias = Callable[[str], Awaitable[Mapping[str, Any]]]
PublicKey: TypeAlias = RSAKey | ECKey | OKPKey

REFRESHED_AFTER_S = 900.0
REFRESHED_AT_MOST_EVERY_S = 10.0
_MAX_KEYS = 100


class Issuer:
    """The documents of one issuer. `jwks_url`: where its keys are, if not where its discovery document says."""

    def __init__(
        self, url: str, fetch: Fetch, *, jwks_url: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.url = url
        self._fetch = fetch
        self._jwks_url = jwks_url
        self._clock = clock
        self._metadata: Mapping[str, Any] | None = None
        self._keys: dict[str, PublicKey] = {}
        self._fetched_at = self._tried_at = -REFRESHED_AFTER_S
        self._failure = f"{url} has no keys"  # why the last fetch failed
        self._under_way: asyncio.Task[None] | None = None

    async def metadata(self) -> Mapping[str, Any]:
        """Its discovery document (OpenID Connect Discovery 1.0). Raises IssuerUnavailable."""
        if self._metadata is None:
            found = await self._fetch(f"{self.url.rstrip('/')}/.well-known/openid-configuration")
            if found.get("issuer") != self.url:
                raise IssuerUnavailable(
                    f"the document of the issuer {self.url} names another issuer: {str(found.get('issuer'))[:200]!r}"
                )
            _check_endpoints(found, self.url)
            self._metadata = found
        return self._metadata

    async def key(self, key_id: str) -> PublicKey | None:
        """The public key with this id, or None. With an empty id: the only key, if the issuer has exactly one.

        Raises:
            IssuerUnavailable: there are no keys, since none could be fetched yet.
        """
        known = self._known(key_id)
        now = self._clock()
        if known is None or now - self._fetched_at > REFRESHED_AFTER_S:
            if now - self._tried_at >= REFRESHED_AT_MOST_EVERY_S:
                refresh = self._refresh()
                if known is None:
                    await self._outcome(refresh)
            elif not self._keys:
                raise IssuerUnavailable(self._failure)
        return self._known(key_id)

    async def _outcome(self, refresh: asyncio.Task[None]) -> None:
        try:
            await asyncio.shield(refresh)
        except IssuerUnavailable:
            if not self._keys:
                raise

    def _known(self, key_id: str) -> PublicKey | None:
        if not key_id:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(key_id)

    def _refresh(self) -> asyncio.Task[None]:
        # Calls that need the keys at the same time wait for the same fetch.
        if self._under_way is None:
            self._under_way = asyncio.create_task(self._fetch_keys())
            self._under_way.add_done_callback(self._fetched)
        return self._under_way

    def _fetched(self, task: asyncio.Task[None]) -> None:
        self._under_way = None
        self._tried_at = self._clock()
        if task.cancelled() or (error := task.exception()) is None:
            return
        self._failure = str(error)
        if self._keys:
            log.warning(
                "Could not fetch the keys of an issuer of tokens; those that are known stay in use",
                action="issuer_unavailable",
                issuer=self.url,
                error=self._failure,
            )

    async def _fetch_keys(self) -> None:
        url = self._jwks_url or str((await self.metadata()).get("jwks_uri"))
        listed = (await self._fetch(url)).get("keys")
        if not isinstance(listed, list):
            raise IssuerUnavailable(f"the document at {url} has no list of keys")
        self._keys = dict(key for one in listed[:_MAX_KEYS] if (key := _public_key(one)) is not None)
        self._fetched_at = self._clock()


def _check_endpoints(metadata: Mapping[str, Any], issuer: str) -> None:
    """Raises IssuerUnavailable if an issuer with https:// names an endpoint without: an attacker could replace keys
    that come over plain HTTP, and read secrets that are sent over it."""
    for name, url in metadata.items():
        is_endpoint = name == "jwks_uri" or name.endswith("_endpoint")
        if is_endpoint and issuer.startswith("https:") and not str(url).startswith("https:"):
            raise IssuerUnavailable(f"the document of the issuer {issuer} has no https:// URL in {name}")


def _public_key(one: object) -> tuple[str, PublicKey] | None:
    """The id of a key, and the key; None if it is not for signatures, or of a kind that is not supported."""
    if not isinstance(one, dict) or one.get("use", "sig") != "sig":
        return None
    try:
        key = JWKRegistry.import_key(one)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    # Public keys only. With a shared secret in a public document, everybody could sign.
    return (str(one.get("kid", "")), key) if isinstance(key, RSAKey | ECKey | OKPKey) else None
