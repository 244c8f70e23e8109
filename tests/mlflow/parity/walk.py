"""A random sequence of calls, made from a seed, and what came out differently."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.mlflow.parity.calls import NOTHING, Call, Peer
from tests.mlflow.parity.compare import comparable
from tests.mlflow.parity.differences import is_meant
from tests.support.rest import Rest

# More is noise that follows from the first ones.
_ENOUGH = 8


@dataclass(slots=True)
class World:
    """The objects that the walk has made so far. Its names are unique, so that it does not meet other tests."""

    chance: random.Random
    salt: str
    experiments: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    registered: list[str] = field(default_factory=list)
    clock: int = 1_000_000

    def tick(self) -> int:
        """A time that was not given out before: start times order runs, and equal ones would leave it to ids."""
        self.clock += self.chance.randrange(1, 50)
        return self.clock

    def one_of(self, names: Sequence[str], otherwise: str) -> str:
        """One that is there; rarely, or if there is none, one that is not."""
        if not names or self.chance.random() < 0.04:
            return otherwise
        # The last ones are written to most, so that they get many entries.
        return names[-1] if self.chance.random() < 0.4 else self.chance.choice(names)

    def experiment(self) -> str:
        """The id of an experiment."""
        return self.one_of(self.experiments, NOTHING["experiment"])

    def run(self) -> str:
        """The id of a run."""
        return self.one_of(self.runs, NOTHING["run"])

    def rarely(self, part: float = 0.08) -> bool:
        """True in this share of the cases."""
        return self.chance.random() < part


Step = Callable[[World], Call]


@dataclass(frozen=True, slots=True)
class Area:
    """What the walk may do there, how often in comparison, and what is there from the beginning."""

    name: str
    steps: tuple[tuple[int, Step], ...]
    begin: tuple[Step, ...] = ()


@dataclass(slots=True)
class Walk:
    """A random sequence of calls to both servers."""

    area: Area
    seed: int
    salt: str
    differences: list[str] = field(default_factory=list)
    calls: int = 0

    def go(self, ours: Rest, theirs: Rest, *, seconds: float, calls: int = 2**62) -> None:
        """Walks until the time is over, or until the two servers are too different to continue."""
        peers = Peer(theirs), Peer(ours)
        give_up = time.monotonic() + seconds
        for call in self._calls():
            if time.monotonic() > give_up or self.calls >= calls or len(self.differences) >= _ENOUGH:
                return
            if not self._same(call, *peers):
                return

    def _calls(self) -> Iterator[Call]:
        world = World(random.Random(self.seed), self.salt)
        for step in self.area.begin:
            yield step(world)
        weights, steps = zip(*self.area.steps, strict=True)
        while True:
            yield world.chance.choices(steps, weights)[0](world)

    def _same(self, call: Call, stock: Peer, ours: Peer) -> bool:
        """Whether the two can go on: after a read they can, and after two refusals."""
        while True:
            answers = stock.do(call), ours.do(call)
            self.calls += 1
            expected, got = (
                comparable(answer, peer.names, unordered=call.unordered)
                for answer, peer in zip(answers, (stock, ours), strict=True)
            )
            if expected != got and not is_meant(call, expected, got):
                where = f"{self.area.name}, seed {self.seed}, call {self.calls}"
                self.differences.append(f"{where}\n  {call}\n  stock {expected!s:.3000}\n  ours  {got!s:.3000}")
                return not call.changes or (answers[0].status >= 400 and answers[1].status >= 400)
            token = next((name for name in call.learns if name.startswith("«token")), None)
            if token is None or not (stock.knows(token) and ours.knows(token)):
                return True
            # The next page.
            call = dataclasses.replace(call, body={**call.body, "page_token": token})
