"""The scenarios: the faults that are caused. Seconds are those at scale 1."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from runstream_bench.durability.cells import Cell
from runstream_bench.durability.small_disk import filled
from runstream_bench.durability.trackers import Tracker
from runstream_bench.tcp_proxy import Proxy

# A day, cut 288 times. Longer than MLflow's client tries by default (its 7 retries take about four minutes), which is
# the longest of all that give up at some time.
OUTAGE_S = 300.0
RANKS = 4
LOST_ANSWERS = 8
PASS_S = 1.0  # between two times at which answers get lost, at any scale
KILLED_TRAINERS = 3


async def no_fault(cell: Cell) -> None:
    trainer = await cell.trainer()
    await cell.sleep(10)
    await trainer.stop()


async def values(cell: Cell) -> None:
    trainer = await cell.trainer(script="hard")
    await trainer.ended()


async def kill_trainer(cell: Cell) -> None:
    """Each at another moment of what its client does in the background."""
    trainers = await asyncio.gather(*(cell.trainer(run=f"run-{number}") for number in range(KILLED_TRAINERS)))
    await cell.sleep(5)
    for trainer in trainers:
        trainer.kill()
        await trainer.ended()
        await asyncio.sleep(0.37)
    await cell.next_job()


async def kill_server(cell: Cell) -> None:
    trainer = await cell.trainer()
    assert cell.stack.server is not None
    for _ in range(2):
        await cell.sleep(4)
        await cell.stack.server.kill_async()
        await cell.stack.server.start_async()
    await cell.sleep(6)
    await trainer.stop()


async def kill_database(cell: Cell) -> None:
    trainer = await cell.trainer()
    for _ in range(2):
        await cell.sleep(4)
        await cell.stack.kill_database()
        await cell.stack.restart_database()
    await cell.sleep(6)
    await trainer.stop()


async def lost_answers(cell: Cell) -> None:
    with Proxy(f"127.0.0.1:{cell.stack.port}") as proxy:
        trainer = await cell.trainer(address=cell.stack.through(proxy.port))
        await cell.sleep(2)
        lost = 0
        for _ in range(max(2, round(LOST_ANSWERS * cell.scale))):
            await asyncio.sleep(PASS_S)
            lost += await asyncio.to_thread(proxy.lose_answers)
        await cell.sleep(2)
        await trainer.stop()
        cell.remark = f"{lost} answers were lost"


async def ranks(cell: Cell) -> None:
    """Into one run, where the tracker lets several processes do that; else a run for each rank."""
    first = await cell.trainer(ranks=RANKS)
    join = first.notes().run_id if cell.tracker.joins else ""
    more = [cell.trainer(rank=rank, ranks=RANKS, join=join) for rank in range(1, RANKS)]
    trainers = [first, *await asyncio.gather(*more)]
    await cell.sleep(8)
    for trainer in trainers:
        trainer.tell_to_end()
    for trainer in trainers:
        await trainer.ended()


async def outage(cell: Cell) -> None:
    trainer = await cell.trainer()
    assert cell.stack.server is not None
    await cell.sleep(4)
    await cell.stack.server.stop_async()
    await cell.outage(OUTAGE_S)
    await cell.sleep(10)
    await trainer.stop()
    await cell.next_job()


async def ends_in_outage(cell: Cell) -> None:
    trainer = await cell.trainer()
    assert cell.stack.server is not None
    await cell.sleep(4)
    await cell.stack.server.stop_async()
    await cell.sleep(4)
    trainer.tell_to_end()
    await cell.outage(OUTAGE_S)
    if trainer.process.poll() is None:
        cell.remark += ", and the training process had not ended by then"
    await trainer.ended()
    await cell.next_job()


async def full_disk(cell: Cell) -> None:
    """Until the training has ended; then there is room again, and another training starts."""
    trainer = await cell.trainer()
    await cell.sleep(4)
    with filled(cell.local):
        await cell.sleep(6)
        await trainer.stop()
    await cell.next_job()


@dataclass(frozen=True, slots=True)
class Scenario:
    """`settle_s`: for how long points may still arrive after its end."""

    name: str
    run: Callable[[Cell], Awaitable[None]]
    settle_s: float = 15.0
    needs_server: bool = False
    needs_database: bool = False
    alone: bool = False  # costs are measured, so nothing else runs meanwhile
    long: bool = False
    small_disk: bool = False  # of the machine that trains

    def suits(self, tracker: Tracker) -> bool:
        """Whether the tracker has what is harmed."""
        return (tracker.has_server or not self.needs_server) and (tracker.has_database or not self.needs_database)


ALL = {
    scenario.name: scenario
    for scenario in (
        Scenario("no-fault", no_fault, alone=True),
        Scenario("values", values),
        Scenario("kill-trainer", kill_trainer),
        Scenario("kill-server", kill_server, needs_server=True),
        Scenario("kill-database", kill_database, needs_database=True),
        Scenario("lost-answers", lost_answers, needs_server=True),
        Scenario("ranks", ranks),
        Scenario("full-disk", full_disk, small_disk=True),
        Scenario("outage", outage, settle_s=45.0, needs_server=True, long=True),
        Scenario("ends-in-outage", ends_in_outage, settle_s=45.0, needs_server=True, long=True),
    )
}
