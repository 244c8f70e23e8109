"""The shares of the pool."""

from __future__ import annotations

import dataclasses

import pytest

from runstream_service.pool_shares import LEAST_POOL_SIZE, PoolShares


@pytest.mark.parametrize("pool_size", [LEAST_POOL_SIZE, 7, 8, 9, 10, 11, 20, 33, 1_000])
def test_shares_together_leave_a_connection_to_the_tail_reader_and_one_to_calls(pool_size: int) -> None:
    shares = dataclasses.astuple(PoolShares.of(pool_size))
    assert min(shares) >= 1
    assert sum(shares) + 2 <= pool_size
