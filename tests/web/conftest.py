"""A service, and callers of the page's API."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.support.databases import short_directory
from tests.support.rest import Rest
from tests.support.serve import ServeProcess
from tests.web.support import Web


@pytest.fixture(scope="session")
def service() -> Iterator[ServeProcess]:
    """One service with a PostgreSQL of its own. Tests share it: each makes runs of its own."""
    arguments = ("--trusted-proxies", "127.0.0.1")
    with short_directory() as directory, ServeProcess(directory, arguments=arguments) as serve:
        yield serve
        assert [record for record in serve.log_records if record["level"] in ("error", "critical")] == []


@pytest.fixture(scope="session")
def web(service: ServeProcess) -> Iterator[Web]:
    with contextlib.closing(Rest(service.http_url, prefix="/web/api/")) as rest:
        yield Web(service, rest)
