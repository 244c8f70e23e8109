"""Checks JWTs: who signed one, for which audience, and whether it is valid now."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

import orjson
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.util import urlsafe_b64decode

from runstream_service.auth.issuer import Issuer
from runstream_service.errors.core import Unauthenticated

# Only signatures by a private key. With HS256, which signs with a shared secret, an attacker could sign with the public
# key as the secret; and `none` is no signature.
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"),
    *("Ed25519", "EdDSA"),
)
# Clocks of machines with NTP differ by milliseconds.
LEEWAY_S = 30.0
_MAX_CHARACTERS = 16_384


def claimed_issuer(text: str) -> str:
    """The issuer that a token names; nothing is checked yet. Raises Unauthenticated if the token cannot be read."""
    if len(text) > _MAX_CHARACTERS:
        raise Unauthenticated(f"this token is longer than {_MAX_CHARACTERS:,} characters")
    return str(_object(text.split(".")[1], "claims").get("iss", ""))


async def verified_claims(text: str, issuer: Issuer, audiences: Collection[str]) -> Mapping[str, Any]:
    """The claims of a token, if this issuer signed it for one of these audiences and it is valid now.

    Raises:
        Unauthenticated: it says why.
        IssuerUnavailable: the keys of the issuer could not be fetched.
    """
    header = _object(text.split(".")[0], "header")
    algorithm, key_id = header.get("alg"), header.get("kid", "")
    if algorithm not in ALGORITHMS:
        raise Unauthenticated(
            f"this token is signed with {str(algorithm)[:20]!r}; only signatures by a private key are accepted: "
            f"{', '.join(ALGORITHMS)}"
        )
    key = await issuer.key(key_id) if isinstance(key_id, str) else None
    if key is None:
        raise Unauthenticated(
            f"this token is signed with the key {str(key_id)[:80]!r}, which {issuer.url} does not have; ask for a new "
            "token"
        )
    try:
        payload = jws.deserialize_compact(text, key, algorithms=[algorithm]).payload
    except (JoseError, ValueError) as error:
        raise Unauthenticated(f"the signature of this token was not made by {issuer.url}") from error
    claims = _parsed(payload, "claims")
    check_claims(claims, issuer.url, audiences, now=time.time())
    return claims


def check_claims(claims: Mapping[str, Any], issuer: str, audiences: Collection[str], *, now: float) -> None:
    """Checks the issuer, the audience and the times of claims whose signature is valid. `now` is Unix time in seconds.

    Raises:
        Unauthenticated: it says what is wrong, and what to do.
    """
    if claims.get("iss") != issuer:
        raise Unauthenticated(f"this token was issued by {str(claims.get('iss'))[:200]!r}, not by {issuer}")
    audience = claims.get("aud")
    if not set(audience if isinstance(audience, list) else [audience]) & set(audiences):
        raise Unauthenticated(
            f"this token is for {str(audience)[:200]!r}, not for this service; ask for one with the audience "
            f"{' or '.join(map(repr, audiences))}"
        )
    expires, *begins = [_time(claims, name) for name in ("exp", "nbf", "iat") if name in claims or name == "exp"]
    if (early := max(begins, default=0.0) - now) > LEEWAY_S:
        raise Unauthenticated(
            f"this token becomes valid in {early:.0f} s: the clock of this service is behind that of {issuer} "
            "by at least that much; set both by NTP"
        )
    if (late := now - expires) >= LEEWAY_S:
        raise Unauthenticated(
            f"this token expired {late:.0f} s ago, by the clock of this service; ask for a new one. If it is new, that "
            f"clock is ahead of that of {issuer}: set both by NTP"
        )


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unauthenticated(f"this token has no time in {name}")
    return float(value)


def _object(part: str, what: str) -> Mapping[str, Any]:
    try:
        return _parsed(urlsafe_b64decode(part.encode()), what)
    except (ValueError, UnicodeError) as error:
        raise Unauthenticated(f"the {what} of this token cannot be read; it may be cut off") from error


def _parsed(data: bytes, what: str) -> Mapping[str, Any]:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise Unauthenticated(f"the {what} of this token cannot be read; it may be cut off")
    return found
