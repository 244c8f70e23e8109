"""Authentication by JWTs of an OpenID Connect provider and of a Kubernetes cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runstream_service.auth.jwt_claims import claimed_issuer, verified_claims
from runstream_service.auth.lookup_cache import Found, LookupCache, caller_or_refusal
from runstream_service.auth.token_text import hash_of
from runstream_service.core.caller import Caller
from runstream_service.database.queries import load
from runstream_service.errors.core import Forbidden, Unauthenticated, WorkspaceNotFound

if TYPE_CHECKING:
    from runstream_service.auth.authenticator import Credentials
    from runstream_service.auth.person_from_claims import TrustedIssuer
    from runstream_service.auth.sessions import Person
    from runstream_service.database.pool import Database

SQL = load("access")


@dataclass(frozen=True, slots=True)
class _Key:
    digest: bytes
    workspace: str
    text: str = field(compare=False, repr=False)


class JwtAuthenticator:
    """Authenticates calls by JWTs of issuers that are trusted. Until `use` is called, calls fail with NotConnected."""

    def __init__(self, trusted: Sequence[TrustedIssuer]) -> None:
        self._trusted = {one.issuer.url: one for one in trusted}
        # A result is remembered for two seconds, so a signature is not checked for every call either.
        self._lookups = LookupCache(self._look_up)

    def use(self, database: Database) -> None:
        """Looks workspaces up in this database from now on."""
        self._lookups.use(database)

    async def authenticate(self, credentials: Credentials) -> Caller:
        """Who calls; see Authenticator.authenticate."""
        text = credentials.token
        return caller_or_refusal(await self._lookups.get(_Key(hash_of(text), credentials.workspace, text)))

    async def _look_up(self, database: Database, key: _Key) -> Found:
        try:
            issuer = claimed_issuer(key.text)
            trusted = self._trusted.get(issuer)
            if trusted is None:
                return Unauthenticated(f"this token was issued by {issuer[:200]!r}, which is not trusted here")
            claims = await verified_claims(key.text, trusted.issuer, trusted.audiences)
            person = trusted.person_of(claims)
            return await self._caller(database, person, key.workspace, float(claims["exp"]))
        except (Unauthenticated, Forbidden, WorkspaceNotFound) as refusal:
            return refusal

    async def _caller(self, database: Database, person: Person, asked: str, expires_at: float) -> Caller:
        workspace = asked or person.grants.default()
        role = person.grants.role_in(workspace)
        row = await database.fetchrow(SQL["find_workspace"], workspace) if role else None
        if role is None or row is None:
            raise WorkspaceNotFound(
                f"no workspace {workspace[:80]!r} for {person.principal}", field="workspace", subject=workspace
            )
        return Caller(
            workspace_id=row["workspace_id"],
            workspace=workspace,
            principal=person.principal,
            role=role,
            expires_at=expires_at,
            others=person.grants.others(workspace),
        )
