"""One service for all tests of a module, and runs on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import runstream
from tests.support.databases import short_directory
from tests.support.serve import ServeProcess

ROOT = Path(__file__).parents[2]
os.environ["KERAS_BACKEND"] = "torch"  # read when Keras is imported
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"  # read when JAX is imported


@pytest.fixture(scope="package")
def serve() -> Iterator[ServeProcess]:
    """A real service."""
    with short_directory() as directory, ServeProcess(directory / "data") as process:
        yield process


@pytest.fixture(scope="package")
def ray_cluster() -> Iterator[str]:
    """The address of Ray's processes, which take long to start; they find the modules of the tests."""
    import ray  # here, since few tests need it

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AIR_NEW_OUTPUT": "0"}
    environment = {"env_vars": {"PYTHONPATH": str(ROOT)}}
    for last in (False, False, True):
        try:
            started = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=environment)
            break
        except Exception as error:  # Ray gives its processes half a minute, which may be too short on a busy machine
            ray.shutdown()
            if last or "timed out during startup" not in str(error):
                raise
    yield started.address_info["gcs_address"]
    ray.shutdown()


@pytest.fixture
def client(serve: ServeProcess) -> runstream.Client:
    """Reads back."""
    return runstream.Client(serve.grpc_address)


@pytest.fixture
def run(serve: ServeProcess) -> Iterator[runstream.Run]:
    """A run of this test."""
    with runstream.start_run("frameworks", address=serve.grpc_address) as run:
        yield run
