"""One service for all tests of a module, and runs on it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import runstream
from tests.support.databases import short_directory
from tests.support.serve import ServeProcess

os.environ["KERAS_BACKEND"] = "torch"  # read when Keras is imported
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"  # read when JAX is imported


@pytest.fixture(scope="package")
def serve() -> Iterator[ServeProcess]:
    """A real service."""
    with short_directory() as directory, ServeProcess(directory / "data") as process:
        yield process


@pytest.fixture
def client(serve: ServeProcess) -> runstream.Client:
    """Reads back."""
    return runstream.Client(serve.grpc_address)


@pytest.fixture
def run(serve: ServeProcess) -> Iterator[runstream.Run]:
    """A run of this test."""
    with runstream.start_run("frameworks", address=serve.grpc_address) as run:
        yield run
