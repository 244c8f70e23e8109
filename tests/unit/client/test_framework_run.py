"""The run of a framework's logger, and hyperparameters as params, without any framework."""

from __future__ import annotations

import pickle
import subprocess
import sys
from argparse import Namespace
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

import pytest

import runstream
from runstream._flat_params import flat_params
from runstream._framework_run import FrameworkRun, status_of_error
from runstream._params_tags import MAX_PARAM
from tests.unit.client.conftest import StartRun
from tests.unit.client.stored_journals import TestAgent


@dataclass
class Optimizer:
    name: str
    betas: tuple[float, float]


class Broken:
    def __repr__(self) -> str:
        return "Broken()"

    def __str__(self) -> str:
        raise RuntimeError("no text")


class BrokenMapping(dict[str, int]):
    def items(self) -> NoReturn:
        raise RuntimeError("an interpolation that leads nowhere")


@pytest.mark.parametrize(
    ("config", "params"),
    [
        ({"lr": 0.1, "none": None, "on": True}, {"lr": "0.1", "none": "None", "on": "True"}),
        (Namespace(lr=0.1, model=Namespace(depth=2)), {"lr": "0.1", "model/depth": "2"}),
        ({"opt": Optimizer("adam", (0.9, 0.99))}, {"opt/name": "adam", "opt/betas": "(0.9, 0.99)"}),
        (Optimizer("sgd", (0.0, 0.0)), {"name": "sgd", "betas": "(0.0, 0.0)"}),
        (MappingProxyType({"data": {0: "cat", 1: "dog"}}), {"data/0": "cat", "data/1": "dog"}),
        ({"kind": Optimizer, "empty": {}, "list": [1, 2]}, {"kind": str(Optimizer), "empty": "{}", "list": "[1, 2]"}),
        ({"bad": Broken(), "good": 1}, {"good": "1"}),
        ({}, {}),
        (None, {"config": "None"}),
        (7, {"config": "7"}),
    ],
    ids=str,
)
def test_hyperparameters_become_flat_params(config: object, params: dict[str, str]) -> None:
    assert flat_params(config) == params


def test_large_hyperparameters_stay_one_param_of_bounded_length() -> None:
    labels = {f"label {number}": number for number in range(101)}
    flat = flat_params({"labels": labels, "text": "x" * 10_000})
    assert flat["labels"] == str(labels)
    assert flat["text"] == "x" * (MAX_PARAM - 3) + "..."
    deep: dict[str, object] = {}
    for _ in range(2_000):  # deeper than Python's stack
        deep = {"a": deep}
    assert flat_params({"deep": deep, "lr": 1}) == {"lr": "1"}
    assert flat_params({"config": BrokenMapping(a=1)}) == {"config": "{'config': {'a': 1}}"}


def test_a_run_that_ended_is_open_again_with_the_next_point(agent: TestAgent, start_run: StartRun) -> None:
    mine = FrameworkRun(experiment="e", name="n", address="127.0.0.1:1")
    first = mine.handle()
    assert mine.handle() is first
    first.log({"loss": 1.0})
    mine.finish()
    run_id = mine.run_id
    assert not mine.is_open
    assert agent.runs[run_id].status == "FINISHED"
    mine.handle().log({"loss": 2.0})
    mine.finish("FAILED")
    assert mine.run_id == run_id
    assert list(agent.runs) == [run_id]
    assert agent.runs[run_id].status == "FAILED"
    assert agent.values("loss") == [1.0, 2.0]


def test_a_run_of_the_caller_is_not_ended(agent: TestAgent, start: StartRun) -> None:
    run = start("e")
    mine = FrameworkRun(run)
    assert mine.handle() is run
    mine.finish("FAILED")
    assert mine.is_open
    assert run.finish()
    assert mine.handle() is run


def test_a_process_that_is_started_before_the_run_gets_its_id(agent: TestAgent, start_run: StartRun) -> None:
    mine = FrameworkRun(experiment="e", address="127.0.0.1:1")
    theirs = pickle.loads(pickle.dumps(mine))
    other = pickle.loads(pickle.dumps(mine))
    run = theirs.handle()
    assert run.run_id == other.handle().run_id == mine.run_id
    for one in (theirs, other, mine):
        one.finish()


def test_a_wrong_argument_raises_at_once(agent: TestAgent, start: StartRun) -> None:
    run = start("e")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"experiment": 7}, "experiment"),
        ({"run_id": "7"}, "run_id"),
        ({"rank": -1}, "rank"),
        ({"tags": {"": 1}}, "key"),
        ({"workspace": 7}, "workspace"),
        ({"size": 7}, "size"),
        ({"run": run, "name": "n"}, "pass either run or name"),
        ({"run": 7}, "run must be"),
    ]
    for arguments, why in wrong:
        with pytest.raises((TypeError, ValueError), match=why):
            FrameworkRun(**arguments)


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt(), "KILLED"), (RuntimeError(), "FAILED"), (SystemExit(1), "FAILED")],
    ids=repr,
)
def test_ctrl_c_kills_a_run_and_other_exceptions_fail_it(error: BaseException, status: str) -> None:
    try:
        raise error
    except BaseException:
        assert status_of_error() == status


def test_importing_the_client_loads_no_framework() -> None:
    code = (
        "import sys, runstream; runstream.start_run; "
        "assert not {'runstream._framework_run', 'lightning', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not hasattr(runstream, "lightning")
