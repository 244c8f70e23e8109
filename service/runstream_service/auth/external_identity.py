"""Makes the objects that check identities of an OpenID Connect provider and of a cluster. Imported only if one of them
is configured, since its libraries take long to load."""

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
    """`provider` is where people sign in, None without one. `jwts` authenticates calls by tokens of the provider and of
    the cluster's pods."""

    def __init__(self, oidc: OidcSettings | None, kubernetes: KubernetesSettings | None, *, redirect_uri: str) -> None:
        """`redirect_uri` is the URL of this service to which the provider sends people back."""
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
        """Closes the connections to the provider and to the cluster."""
        for fetcher in self._fetchers:
            await fetcher.close()
