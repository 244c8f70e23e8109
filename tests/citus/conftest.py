"""Every test here runs on a Citus cluster: `database_url` is a distributed database."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.citus import SKIP_REASON, VARIABLE, CitusCluster

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test of this directory."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.citus)
            if VARIABLE not in os.environ:
                item.add_marker(pytest.mark.skip(reason=SKIP_REASON))


@pytest.fixture(scope="session")
def cluster() -> Iterator[CitusCluster]:
    """The cluster, with a template database."""
    cluster = CitusCluster(os.environ[VARIABLE])
    try:
        asyncio.run(cluster.open())
        yield cluster
    finally:
        asyncio.run(cluster.close())


@pytest.fixture
async def database_url(cluster: CitusCluster) -> AsyncIterator[str]:
    """A distributed database for this test alone."""
    async with cluster.database() as url:
        yield url
