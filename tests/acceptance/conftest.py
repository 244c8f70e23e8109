"""Fixtures of tests that use the service as its users do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import runstream
from tests.support.databases import short_directory
from tests.support.serve import ServeProcess


@pytest.fixture(scope="module")
def serve() -> Iterator[ServeProcess]:
    """One service for all tests of a module; a test that kills it starts it again."""
    with short_directory() as directory, ServeProcess(directory / "data") as process:
        yield process


@pytest.fixture
def client(serve: ServeProcess) -> runstream.Client:
    """A client of the service."""
    return runstream.Client(serve.grpc_address)
