"""Signing in at an OpenID Connect provider: authorisation code with PKCE, state and nonce.

Authlib implements the protocol; the ID token is checked by jwt_claims.py, like all JWTs.
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
    """An OpenID Connect provider, where people sign in. There is one at most in a process."""

    def __init__(self, settings: OidcSettings, issuer: Issuer, fetcher: Fetcher, *, redirect_uri: str) -> None:
        self._settings = settings
        self._issuer = issuer
        self._web = fetcher
        self._redirect_uri = redirect_uri

    async def begin(self, wanted: str) -> tuple[str, PendingSignIn]:
        """Begins a sign-in: the URL to send the browser to, and what the browser has to keep until `finish`. `wanted`
        is the page to show afterwards. Raises IssuerUnavailable."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        begun = PendingSignIn(state, nonce, verifier, wanted)
        endpoint = await self._endpoint("authorization_endpoint")
        async with self._client() as client:
            url, _ = client.create_authorization_url(
                endpoint, state=begun.state, code_verifier=begun.verifier, nonce=begun.nonce
            )
        return str(url), begun

    async def finish(self, answer: Mapping[str, str], begun: PendingSignIn) -> Person:
        """Finishes a sign-in: who the person is that came back from the provider. `answer` are the parameters of the
        URL to which the provider sent the browser, `begun` is what the browser kept.

        Raises:
            Unauthenticated: the provider refused, or its answer does not belong to this sign-in.
            Forbidden: none of the groups of the person may enter a workspace.
            IssuerUnavailable: the provider did not answer, or not as it should.
        """
        if not secrets.compare_digest(answer.get("state", ""), begun.state):
            raise Unauthenticated("the provider's answer belongs to another sign-in; sign in again")
        # RFC 9207: with several providers, one could pass on the code of another.
        if answer.get("iss", self._issuer.url) != self._issuer.url:
            raise Unauthenticated("the answer came from another provider; sign in again")
        if "code" not in answer:
            why = answer.get("error_description") or answer.get("error") or "no reason"
            raise Unauthenticated(f"the provider did not sign you in: {why[:300]}")
        tokens = await self._tokens(answer["code"], begun.verifier)
        claims = await verified_claims(str(tokens.get("id_token", "")), self._issuer, [self._settings.client_id])
        if claims.get("nonce") != begun.nonce:
            raise Unauthenticated("the provider's token belongs to another sign-in; sign in again")
        if claims.get("azp", self._settings.client_id) != self._settings.client_id:
            raise Unauthenticated(
                "the provider's token was made for another application; ask the operator of this service"
            )
        return person_of_provider(await self._with_groups(claims, tokens), self._settings)

    async def sign_out_url(self, back_to: str) -> str:
        """The URL at which the browser also ends its session at the provider; empty if the provider has none. `back_to`
        is the URL of this service that comes afterwards."""
        try:
            endpoint = (await self._issuer.metadata()).get("end_session_endpoint")
        except IssuerUnavailable:
            return ""
        if not isinstance(endpoint, str):
            return ""
        # Without the parameter id_token_hint: the ID token would have to be kept for it.
        query = urlencode({"client_id": self._settings.client_id, "post_logout_redirect_uri": back_to})
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    async def _tokens(self, code: str, verifier: str) -> Mapping[str, Any]:
        endpoint = await self._endpoint("token_endpoint")
        try:
            async with self._client() as client:
                found = await client.fetch_token(endpoint, code=code, code_verifier=verifier)
        except AuthlibBaseError as error:
            raise Unauthenticated(f"the provider refused the code that it had issued: {error}") from error
        except (httpx2.HTTPError, ValueError) as error:
            raise IssuerUnavailable(f"{endpoint} did not answer as OpenID Connect demands: {error!r}") from error
        return dict(found)

    async def _with_groups(self, claims: Mapping[str, Any], tokens: Mapping[str, Any]) -> Mapping[str, Any]:
        """The claims, with those of the userinfo endpoint if the ID token has no groups: some providers put groups and
        the email only there."""
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
