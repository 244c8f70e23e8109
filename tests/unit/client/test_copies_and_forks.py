"""Copies of a handle, handles sent to other processes, and forked children: each records to the same run."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import runstream
from tests.unit.client.conftest import StartRun
from tests.unit.client.stored_journals import TestAgent


def test_a_copy_is_the_same_handle(agent: TestAgent, start: StartRun) -> None:
    run = start("e")
    assert copy.copy(run) is run
    assert copy.deepcopy({"logger": [run]})["logger"][0] is run
    assert pickle.loads(pickle.dumps(run)) is run


def in_a_forked_child(do: Callable[[], object]) -> None:
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        try:
            do()
        except BaseException as error:
            print(repr(error), file=sys.__stderr__, flush=True)
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_handle_that_arrives_in_another_process_records_to_the_same_run(agent: TestAgent, start: StartRun) -> None:
    run = start("e", "n", rank=0, attempt=2)
    run.log({"loss": 0.0}, step=0)
    sent = pickle.dumps(run)
    assert run.flush(120)

    def child() -> None:
        runstream._lifecycle.process_state._runs.clear()  # as in a spawned process, which inherits nothing
        arrived = pickle.loads(sent)
        assert pickle.loads(sent) is arrived, "with each task"
        arrived.log({"loss": 1.0})
        assert (arrived.run_id, arrived.rank, arrived.attempt) == (run.run_id, 0, 2)
        assert arrived.finish()

    in_a_forked_child(child)
    assert agent.points[-1][1:] == (1, agent.points[-1][2], 1.0, 0, 2)
    assert agent.status(run.run_id) == "RUNNING", "its end is left to the first process"
    assert run.finish()
    assert len(agent.runs) == 1


def test_a_handle_that_was_finished_arrives_finished(agent: TestAgent, start: StartRun) -> None:
    run = start("e")
    sent = pickle.dumps(run)
    run.finish()
    again = pickle.loads(pickle.dumps(run))
    again.log({"loss": 1.0})
    assert dict(again.stats().refused) == {"finished": 1}
    assert pickle.loads(sent).finish()


def test_a_forked_child_has_a_journal_of_its_own_from_its_first_point_on(agent: TestAgent, start: StartRun) -> None:
    run = start("e")
    run.log({"loss": 0.0})
    assert run.flush(120)
    in_a_forked_child(lambda: None)
    in_a_forked_child(lambda: run.finish() or exit(1))

    def child() -> None:
        run.log({"loss": 1.0})
        run.set_tags({"child": 1})
        assert run.flush(120)

    in_a_forked_child(child)
    assert len(agent.creates) == 2
    assert [point[1] for point in agent.points] == [0, 1], "steps count on"
    assert agent.status(run.run_id) == "RUNNING"
    assert run.finish()


def test_a_fork_at_any_moment_hangs_neither_process(agent: TestAgent, start: StartRun) -> None:
    runs = [start("e") for _ in range(3)]
    for number in range(30):
        for run in runs:
            run.log({"loss": float(number)})

        def child(number: int = number) -> None:
            for run in runs:
                run.log({f"child{number}": 1.0})
                assert run.flush(120)

        in_a_forked_child(child)
    for run in runs:
        assert run.finish()
    assert len(agent.values("loss")) == 90
    assert all(len(agent.values(f"child{number}")) == 3 for number in range(30))


def test_locks_that_a_child_inherits_are_freed_with_the_parents_journal(agent: TestAgent, start: StartRun) -> None:
    """Otherwise the agent would take the journal of a dead parent for one that is being written."""
    run = start("e")
    assert run.flush(120)
    (path,) = agent.directory.journals()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(read, 1)
        os._exit(0)
    try:
        assert run.finish()
        agent.wait_for(lambda: not Path(path).exists())
    finally:
        os.write(write, b"x")
        os.waitpid(pid, 0)
