"""The settings of an OpenID Connect provider and of a Kubernetes cluster whose tokens the service accepts."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from runstream_service.auth.grants import GrantTable
from runstream_service.errors.startup import StartupError

T = TypeVar("T")

# The secret may be in this environment variable instead of a file.
_SECRET_VARIABLE = "RUNSTREAM_OIDC_CLIENT_SECRET"  # noqa: S105 - the name of a variable
_NO_SECRET = "none"  # noqa: S105 - says that there is none
_MAX_SECRET_BYTES = 4_096
_GRANTS = "ml=team-a:write,platform=*:admin"


class Read(Protocol):
    """A function that reads settings."""

    def __call__(self, flag: str, parse: Callable[[str], T], example: str) -> T:
        """The parsed value of a setting. Raises StartupError, with the example, if `parse` raises ValueError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcSettings:
    """The settings of an OpenID Connect provider, where people sign in."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)  # empty: a public client, which has none and relies on PKCE
    scopes: str
    groups_claim: str
    audiences: tuple[str, ...]  # which bearer tokens have to name
    grants: GrantTable


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesSettings:
    """The settings of a cluster, whose pods call with the tokens of their service accounts."""

    issuer: str
    audience: str
    jwks_url: str  # empty: the issuer's discovery document says where it is
    grants: GrantTable


def read_oidc(texts: Mapping[str, str], read: Read, *, is_on: bool, has_public_url: bool) -> OidcSettings | None:
    """Reads the settings of the provider; None without one. `texts` has all settings by flag; `is_on` says whether
    there is authentication. Raises StartupError if a setting is missing or wrong."""
    example = "https://login.example.org/realms/main"
    issuer = read("--oidc-issuer", _issuer, example)
    if not issuer:
        others = ("--oidc-client-id", "--oidc-client-secret-file", "--oidc-grants")
        _check_nothing_of(texts, "--oidc-issuer", others, example)
        return None
    _check_on(is_on, "--oidc-issuer")
    if not has_public_url:
        raise _missing(
            "--public-url",
            "the URL of this service, to which the provider sends people back",
            "https://runstream.example.org",
        )
    client_id = read("--oidc-client-id", _required("the name of this service at the provider"), "runstream")
    return OidcSettings(
        issuer=issuer,
        client_id=client_id,
        client_secret=read("--oidc-client-secret-file", _secret, "/etc/runstream/oidc-secret"),
        scopes=read("--oidc-scopes", _scopes, "openid profile email"),
        groups_claim=read("--oidc-groups-claim", _required("the claim with the groups of a person"), "groups"),
        audiences=read("--oidc-audience", _list, "runstream") or (client_id,),
        grants=read("--oidc-grants", _grants, _GRANTS),
    )


def read_kubernetes(texts: Mapping[str, str], read: Read, *, is_on: bool) -> KubernetesSettings | None:
    """Reads the settings of the cluster; None without one. `texts` has all settings by flag; `is_on` says whether there
    is authentication. Raises StartupError if a setting is missing or wrong."""
    example = "https://kubernetes.default.svc.cluster.local"
    issuer = read("--kubernetes-issuer", _issuer, example)
    if not issuer:
        _check_nothing_of(texts, "--kubernetes-issuer", ("--kubernetes-grants", "--kubernetes-jwks-url"), example)
        return None
    _check_on(is_on, "--kubernetes-issuer")
    return KubernetesSettings(
        issuer=issuer,
        audience=read("--kubernetes-audience", _required("the audience of tokens for this service"), "runstream"),
        jwks_url=read("--kubernetes-jwks-url", _issuer, "https://kubernetes.default.svc/openid/v1/jwks"),
        grants=read("--kubernetes-grants", _grants, "ml-team=team-a:write,*=*:write"),
    )


def _check_nothing_of(texts: Mapping[str, str], needed: str, flags: tuple[str, ...], example: str) -> None:
    for flag in flags:
        if texts[flag].strip():
            raise StartupError(f"it is missing, but {flag} is set, which needs it", setting=needed, example=example)


def _check_on(is_on: bool, flag: str) -> None:
    if not is_on:
        raise StartupError(f"authentication is off, but {flag} is set, which needs it", setting="--auth", example="on")


def _missing(flag: str, what: str, example: str) -> StartupError:
    return StartupError(f"it is missing: {what}", setting=flag, example=example)


def _required(what: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not text:
            raise ValueError(f"it is missing: {what}")
        return text

    return parse


def _issuer(text: str) -> str:
    """The URL of an issuer, unchanged: tokens name exactly this text, such as with a slash at its end."""
    if not text:
        return text
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{text[:200]!r} is not a URL that begins with https://")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError(
            f"{text[:200]!r} has to begin with https://: keys that come over plain HTTP may be an attacker's"
        )
    return text


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _secret(text: str) -> str:
    if text == _NO_SECRET:
        return ""
    if not text:
        secret = os.environ.get(_SECRET_VARIABLE, "").strip()
        if not secret:
            raise ValueError(
                f"it is missing, and so is {_SECRET_VARIABLE}: the secret of this service at the provider. If "
                "the provider issued none, say: none"
            )
        return secret
    try:
        with Path(text).open("rb") as file:
            secret = file.read(_MAX_SECRET_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the file {text[:200]!r} cannot be read: {error}") from error
    if not secret:
        raise ValueError(f"the file {text[:200]!r} is empty")
    return secret


def _scopes(text: str) -> str:
    scopes = text.split()
    if "openid" not in scopes:
        raise ValueError("the scope openid is missing, which OpenID Connect needs")
    return " ".join(scopes)


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _grants(text: str) -> GrantTable:
    table = GrantTable.parse(text)
    if not table.entries:
        raise ValueError("it is missing: without it, nobody may enter any workspace")
    return table
