"""Wires what checks the identities that others gave out. Imported only if there is something to check."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from runstream_service.auth.fetcher import ClusterFetcher, Fetcher
from runstream_service.auth.issuer import Issuer
from runstream_service.auth.jwt_authenticator import JwtAuthenticator
from runstream_service.auth.oidc import OidcProvider
from runstream_service.auth.person_from_claims import TrustedIssuer, person_of_cluster, person_of_provider

if TYPE_CHECKING:
    from runstream_service.auth.identity_settings import KubernetesSettings, OidcSettings


class ExternalIdentity:
    """`provider`: where people sign in. `jwts`: authenticates by their tokens, and those of pods."""

    def __init__(self, oidc: OidcSettings | None, kubernetes: KubernetesSettings | None, *, redirect_uri: str) -> None:
        """`redirect_uri`: where the provider sends people back to."""
        self._fetchers: list[Fetcher] = []
        self.provider: OidcProvider | None = None
        trusted = []
        if oidc is not None:
            self._fetchers.append(fetcher := Fetcher())
            issuer = Issuer(oidc.issuer, fetcher.fetch)
            self.provider = OidcProvider(oidc, issuer, fetcher, redirect_uri=redirect_uri)
            trusted.append(TrustedIssuer(issuer, oidc.audiences, functools.partial(person_of_provider, settings=oidc)))
        if kubernetes is not None:
            self._fetchers.append(fetcher := ClusterFetcher())
            issuer = Issuer(kubernetes.issuer, fetcher.fetch, jwks_url=kubernetes.jwks_url)
            person_of = functools.partial(person_of_cluster, settings=kubernetes)
            trusted.append(TrustedIssuer(issuer, [kubernetes.audience], person_of))
        self.jwts = JwtAuthenticator(trusted)

    async def close(self) -> None:
        """Closes connections."""
        for fetcher in self._fetchers:
            await fetcher.close()
