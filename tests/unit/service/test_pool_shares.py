"""The shares of the pool."""

from __future__ import annotations

import dataclasses

import pytest

from runstream_service.server.pool_shares import LEAST_POOL_SIZE, PoolShares, connections_of_replica


@pytest.mark.parametrize("pool_size", [LEAST_POOL_SIZE, 7, 8, 9, 10, 11, 20, 33, 1_000])
def test_shares_together_leave_a_connection_to_the_tail_reader_and_one_to_calls(pool_size: int) -> None:
    shares = dataclasses.astuple(PoolShares.of(pool_size))
    assert min(shares) >= 1
    assert sum(shares) + 2 <= pool_size


def test_connections_of_a_replica_are_those_of_its_workers_and_of_the_work_that_it_does_once() -> None:
    """tests/acceptance/test_serve.py and tests/adversity/test_workers.py count them."""
    assert connections_of_replica(workers=1, pool_size=10, writers=2) == 10 + 2 + 6
    assert connections_of_replica(workers=2, pool_size=10, writers=2) == 2 * (10 + 2 + 4) + 7
