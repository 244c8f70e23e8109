"""What authentication costs in statements: one for the first call with a token, none while it is remembered."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator

import grpc
import pytest

from runstream.v1 import run_pb2, run_pb2_grpc
from runstream_service.auth.lookup_cache import REMEMBERED_S
from tests.access.conftest import Team, make_things
from tests.support.access import execute, make_token
from tests.support.polling import until_now
from tests.support.requests_of_routes import Things
from tests.support.rest import Rest
from tests.support.serve import ServeProcess

# The tables that say who a caller is.
_OF_CALLERS = re.compile(r"\b(FROM|JOIN|INTO|UPDATE) (tokens|sessions|workspaces|sign_ins)\b")
# Read every few seconds, whoever calls.
_IN_THE_BACKGROUND = re.compile(r"\b(workspace_limits|workspace_front_ends)\b")
CALLS = 20


@pytest.fixture(scope="module")
def things(a: Team) -> Things:
    return make_things(a)


@pytest.fixture(scope="module")
def logged(serve: ServeProcess) -> Iterator[ServeProcess]:
    """Lets PostgreSQL log every statement during the block."""
    _set(serve, "ALTER SYSTEM SET log_statement = 'all'")
    yield serve
    _set(serve, "ALTER SYSTEM RESET log_statement")


def _set(serve: ServeProcess, statement: str) -> None:
    execute(serve, statement)
    execute(serve, "SELECT pg_reload_conf()")


def _log(serve: ServeProcess) -> str:
    return "".join(path.read_text() for path in sorted((serve.data_dir / "postgres" / "log").glob("*.log")))


def _mark(serve: ServeProcess) -> int:
    """How long the log is when it has all that was executed before."""
    mark = uuid.uuid4().hex

    def marked() -> bool:
        execute(serve, f"SELECT '{mark}'")
        return mark in _log(serve)

    until_now(marked)  # a session notices the new setting a moment later
    return len(_log(serve))


def _lookups(serve: ServeProcess, work: Callable[[], object]) -> list[str]:
    """The statements about callers during some work."""
    before = _mark(serve)
    work()
    _mark(serve)
    statements = _log(serve)[before:].split(" LOG: ")[1:]
    return [
        statement
        for statement in statements
        if _OF_CALLERS.search(statement) and not _IN_THE_BACKGROUND.search(statement)
    ]


def test_http_looks_a_token_up_once_and_then_remembers_it(logged: ServeProcess, a: Team, things: Things) -> None:
    rest = Rest(logged.http_url, token=make_token(logged, name=uuid.uuid4().hex, role="read", workspace=a.name))

    def get() -> None:
        assert rest.get("runs/get", {"run_id": things.run_id}).status == 200

    _check(logged, get)
    rest.close()


def test_grpc_looks_a_token_up_once_and_then_remembers_it(
    logged: ServeProcess, channel: grpc.Channel, a: Team, things: Things
) -> None:
    token = make_token(logged, name=uuid.uuid4().hex, role="read", workspace=a.name)
    stub, metadata = run_pb2_grpc.RunServiceStub(channel), [("authorization", f"Bearer {token}")]
    _check(logged, lambda: stub.GetRun(run_pb2.GetRunRequest(run_id=things.run_id), metadata=metadata, timeout=20))


def _check(serve: ServeProcess, call: Callable[[], object]) -> None:
    first = _lookups(serve, call)
    assert len(first) == 1, first
    begun = time.monotonic()
    lookups = _lookups(serve, lambda: [call() for _ in range(CALLS)])
    assert len(lookups) <= 1 + (time.monotonic() - begun) / REMEMBERED_S
