"""From the claims of a checked JWT to a person: their name, and their role in each workspace."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runstream_service.auth.sessions import Person
from runstream_service.errors.core import Forbidden, Unauthenticated

if TYPE_CHECKING:
    from runstream_service.auth.identity_settings import KubernetesSettings, OidcSettings
    from runstream_service.auth.issuer import Issuer

_SERVICE_ACCOUNT = re.compile(r"system:serviceaccount:(?P<namespace>[a-z0-9-]{1,63}):[a-z0-9.-]{1,253}")
_MAX_PRINCIPAL_CHARACTERS = 250


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """An issuer whose tokens are accepted, the audiences these must name, and how their claims become a person."""

    issuer: Issuer
    audiences: Sequence[str]
    person_of: Callable[[Mapping[str, Any]], Person]


def person_of_provider(claims: Mapping[str, Any], settings: OidcSettings) -> Person:
    """The person with an account at the OpenID Connect provider whom the claims of a token name.

    Raises:
        Unauthenticated: the claims have no name.
        Forbidden: none of their groups may enter a workspace.
    """
    email = claims.get("email") if claims.get("email_verified", True) is True else None
    name = email or claims.get("preferred_username") or claims.get("sub")
    if not isinstance(name, str) or not name:
        raise Unauthenticated("this token does not say whose it is: it has no email, preferred_username or sub")
    groups = claims.get(settings.groups_claim, [])
    names = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
    # The empty group makes sure that grants to `*` count even for people without groups.
    grants = settings.grants.of([*(one for one in names if isinstance(one, str)), ""])
    person = Person(name[:_MAX_PRINCIPAL_CHARACTERS], grants)
    if not grants.roles:
        raise Forbidden(
            f"you are {person.principal}, and none of your groups ({len(names)} in the claim "
            f"{settings.groups_claim!r}) may enter a workspace here. Ask the operator of this service for it "
            "(--oidc-grants)"
        )
    return person


def person_of_cluster(claims: Mapping[str, Any], settings: KubernetesSettings) -> Person:
    """The service account of a Kubernetes cluster that the claims of a token name.

    Raises:
        Unauthenticated: the token is not that of a service account.
        Forbidden: its namespace may enter no workspace.
    """
    name = str(claims.get("sub", ""))
    match = _SERVICE_ACCOUNT.fullmatch(name)
    if match is None:
        raise Unauthenticated(f"this token is that of {name[:200]!r}, which is not a service account")
    grants = settings.grants.of([match["namespace"]])
    if not grants.roles:
        raise Forbidden(
            f"you are {name}, and pods of the namespace {match['namespace']!r} may enter no workspace here. Ask the "
            "operator of this service for it (--kubernetes-grants)"
        )
    return Person(name, grants)
