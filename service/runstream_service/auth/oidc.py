"""Signing in at an OpenID Connect provider: authorisation code with PKCE, state and nonce.

Authlib knows the protocol between us and the provider; the ID token is checked where all other JWTs are.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import AsyncOAuth2Client

from runstream_service.auth.jwt_claims import verified_claims
from runstream_service.auth.pending_sign_in import PendingSignIn
from runstream_service.auth.person_from_claims import person_of_provider
from runstream_service.errors.core import IssuerUnavailable, Unauthenticated

if TYPE_CHECKING:
    from runstream_service.auth.fetcher import Fetcher
    from runstream_service.auth.identity_settings import OidcSettings
    from runstream_service.auth.issuer import Issuer
    from runstream_service.auth.sessions import Person

_WITHIN_S = 10.0


class OidcProvider:
    """One per process."""

    def __init__(self, settings: OidcSettings, issuer: Issuer, fetcher: Fetcher, *, redirect_uri: str) -> None:
        self._settings = settings
        self._issuer = issuer
        self._web = fetcher
        self._redirect_uri = redirect_uri

    async def begin(self, wanted: str) -> tuple[str, PendingSignIn]:
        """Where to send the browser. Raises IssuerUnavailable."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        begun = PendingSignIn(state, nonce, verifier, wanted)
        endpoint = await self._endpoint("authorization_endpoint")
        async with self._client() as client:
            url, _ = client.create_authorization_url(
                endpoint, state=begun.state, code_verifier=begun.verifier, nonce=begun.nonce
            )
        return str(url), begun

    async def finish(self, answer: Mapping[str, str], begun: PendingSignIn) -> Person:
        """Who came back from the provider.

        Raises:
            Unauthenticated: the provider refused, or what it sent does not belong to what had begun.
            Forbidden: nobody of their groups may enter.
            IssuerUnavailable.
        """
        if not secrets.compare_digest(answer.get("state", ""), begun.state):
            raise Unauthenticated("the provider's answer belongs to another sign-in; sign in again")
        # RFC 9207: with several providers, one could pass on the code of another.
        if answer.get("iss", self._issuer.url) != self._issuer.url:
            raise Unauthenticated("the answer is one of another provider; sign in again")
        if "code" not in answer:
            why = answer.get("error_description") or answer.get("error") or "no reason"
            raise Unauthenticated(f"the provider did not sign you in: {why[:300]}")
        tokens = await self._tokens(answer["code"], begun.verifier)
        claims = await verified_claims(str(tokens.get("id_token", "")), self._issuer, [self._settings.client_id])
        if claims.get("nonce") != begun.nonce:
            raise Unauthenticated("the provider's token belongs to another sign-in; sign in again")
        if claims.get("azp", self._settings.client_id) != self._settings.client_id:
            raise Unauthenticated("the provider's token was made for another application")
        return person_of_provider(await self._with_groups(claims, tokens), self._settings)

    async def sign_out_url(self, back_to: str) -> str:
        """Where the browser ends its session at the provider, too; empty if the provider has no such place."""
        try:
            endpoint = (await self._issuer.metadata()).get("end_session_endpoint")
        except IssuerUnavailable:
            return ""
        if not isinstance(endpoint, str):
            return ""
        # Not the ID token, which would have to be kept for that.
        query = urlencode({"client_id": self._settings.client_id, "post_logout_redirect_uri": back_to})
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    async def _tokens(self, code: str, verifier: str) -> Mapping[str, Any]:
        endpoint = await self._endpoint("token_endpoint")
        try:
            async with self._client() as client:
                found = await client.fetch_token(endpoint, code=code, code_verifier=verifier)
        except AuthlibBaseError as error:
            raise Unauthenticated(f"the provider refused its own code: {error}") from error
        except (httpx2.HTTPError, ValueError) as error:
            raise IssuerUnavailable(f"{endpoint} does not answer as it should: {error!r}") from error
        return dict(found)

    async def _with_groups(self, claims: Mapping[str, Any], tokens: Mapping[str, Any]) -> Mapping[str, Any]:
        """Providers may keep groups, and an email, out of the ID token."""
        endpoint = (await self._issuer.metadata()).get("userinfo_endpoint")
        if self._settings.groups_claim in claims or not isinstance(endpoint, str):
            return claims
        headers = {"authorization": f"Bearer {tokens.get('access_token', '')}"}
        more = await self._web.ask("GET", endpoint, headers=headers)
        return {**more, **claims} if more.get("sub") == claims.get("sub") else claims

    async def _endpoint(self, name: str) -> str:
        metadata = await self._issuer.metadata()
        if not isinstance(metadata.get(name), str):
            raise IssuerUnavailable(f"the document of the issuer {self._issuer.url} has no {name}")
        return str(metadata[name])

    def _client(self) -> AsyncOAuth2Client:
        secret = self._settings.client_secret
        return AsyncOAuth2Client(
            client_id=self._settings.client_id,
            client_secret=secret or None,
            token_endpoint_auth_method="client_secret_basic" if secret else "none",
            scope=self._settings.scopes,
            redirect_uri=self._redirect_uri,
            code_challenge_method="S256",
            timeout=_WITHIN_S,
        )
