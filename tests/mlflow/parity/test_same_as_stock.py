"""Random sequences of calls to a stock `mlflow server` and to our service are answered the same.

A difference prints the area, the seed and the call. CONTRIBUTING.md says how to walk longer.
"""

from __future__ import annotations

import os
import random
import uuid

import pytest

from tests.mlflow.parity import datasets, experiments, files, models, registry, runs
from tests.mlflow.parity.calls import Peer
from tests.mlflow.parity.compare import comparable
from tests.mlflow.parity.differences import DIFFERENCES, Difference, outcome
from tests.mlflow.parity.walk import Area, Walk
from tests.support.rest import Rest

AREAS = (
    *(experiments.AREA, runs.RUNS, runs.METRICS, runs.SEARCH),
    *(datasets.AREA, files.AREA, models.AREA, registry.AREA),
)
# Together, for all areas; longer walks take other seeds each time.
SECONDS = float(os.environ.get("PARITY_SECONDS", "0"))
CALLS = 60
SEEDS = (int(os.environ.get("PARITY_SEED", "1")),)


@pytest.mark.timeout(120 + 2 * SECONDS)
@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.name)
def test_a_walk_is_answered_as_stock_answers_it(ours: Rest, theirs: Rest, area: Area) -> None:
    walks = [_walked(area, seed, ours, theirs, seconds=60, calls=CALLS) for seed in SEEDS]
    left = SECONDS / len(AREAS)
    while left > 0 and not any(walk.differences for walk in walks):
        walks.append(_walked(area, random.randrange(2**32), ours, theirs, seconds=min(10, left)))
        left -= 10
    print(f"{area.name}: {sum(walk.calls for walk in walks)} calls, seeds {[walk.seed for walk in walks]}")
    differences = [difference for walk in walks for difference in walk.differences]
    assert not differences, "\n\n" + "\n\n".join(differences)


def _walked(area: Area, seed: int, ours: Rest, theirs: Rest, *, seconds: float, calls: int = 2**62) -> Walk:
    walk = Walk(area, seed, salt=f"w{uuid.uuid4().hex[:8]}")
    walk.go(ours, theirs, seconds=seconds, calls=calls)
    return walk


@pytest.mark.parametrize("row", DIFFERENCES, ids=lambda row: row.what)
def test_a_difference_is_what_the_table_says(ours: Rest, theirs: Rest, row: Difference) -> None:
    salt = uuid.uuid4().hex
    outcomes, seen = [], []
    for rest in (theirs, ours):
        peer = Peer(rest, salt)
        for call in row.setting:
            assert peer.do(call).status == 200
        outcomes.append(outcome(comparable(peer.do(row.call), peer.names)))
        if row.then is not None:
            seen.append(comparable(peer.do(row.then), peer.names))
    assert outcomes == [row.stock, row.ours]
    assert not seen or seen[0] != seen[1]
