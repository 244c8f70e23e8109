"""Who calls the port. What a caller logs is sent with the caller's own credentials, and the agent's for one without.

The port asks nobody whether a token is valid: what it keeps in a journal is for the service to accept or refuse, under
the token of the one who logged it. So two callers share neither journals nor what is known about runs.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runstream._credentials import Credentials as Sent
from runstream._credentials import Secret, check_token, check_workspace
from runstream._endpoint import Endpoint
from runstream_service.core.caller import DEFAULT_WORKSPACE_ID, Caller, Role
from runstream_service.errors.core import InvalidField, Unauthenticated

if TYPE_CHECKING:
    from runstream_service.auth.authenticator import Credentials
    from runstream_service.errors.core import CoreError


@dataclass(frozen=True, slots=True, kw_only=True)
class PortCaller(Caller):
    """`endpoint` has the credentials that everything of this caller is sent with; `key` tells callers apart."""

    endpoint: Endpoint = field(repr=False)
    key: str

    def headers(self, given: Mapping[str, str]) -> dict[str, str]:
        """What a request has to bring along upstream, besides the headers that it was given."""
        lower = {name.lower() for name in given}
        return {name: value for name, value in self.endpoint.metadata() if name not in lower}


class PortAuthenticator:
    """Implements Authenticator. `own`: the agent's."""

    def __init__(self, own: Endpoint) -> None:
        self._own = own

    async def authenticate(self, credentials: Credentials) -> PortCaller:
        """Raises Unauthenticated, InvalidField."""
        return PortCaller(
            workspace_id=DEFAULT_WORKSPACE_ID,  # the service knows better; nothing here depends on it
            workspace=credentials.workspace,
            principal="a caller of the port",
            role=Role.MANAGE,
            endpoint=self._endpoint(credentials.token, credentials.workspace),
            key=hashlib.sha256(f"{credentials.workspace} {credentials.token}".encode()).hexdigest(),
        )

    def watching(self, _caller: Caller, _end: Callable[[CoreError], None]) -> AbstractContextManager[None]:
        """Nothing here lasts."""
        return contextlib.nullcontext()

    def _endpoint(self, token: str, workspace: str) -> Endpoint:
        own = self._own.credentials
        try:
            if workspace:
                own = own._replace(workspace=check_workspace(workspace, "the header X-MLFLOW-WORKSPACE"))
        except ValueError as error:
            raise InvalidField(str(error)) from error
        try:
            secret = Secret(check_token(token, "the token in the header Authorization")) if token else Secret()
        except ValueError as error:
            raise Unauthenticated(str(error)) from error
        if not secret:
            return self._own._replace(credentials=own)
        source = "the token given to the agent's port for MLflow"
        return self._own._replace(credentials=Sent(secret, workspace=workspace, source=source))


def port_caller(caller: Caller | None) -> PortCaller:
    """The caller of a request, which PortAuthenticator has made."""
    assert isinstance(caller, PortCaller), "the port has no other authenticator"
    return caller
