"""What users log by mistake: nothing is raised, and what is refused is counted and reported."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from tests.unit.client.conftest import StartRun
from tests.unit.client.stored_journals import TestAgent


@pytest.mark.parametrize(
    "metrics",
    [None, 7, "loss", [1], object(), {"a": object()}, {1: 2.0}, {None: 1.0}, {"": 1.0}, {"x" * 300: 1.0}, {"a\0": 1}],
    ids=lambda value: repr(value).partition(" at 0x")[0][:30],
)
@pytest.mark.parametrize("finished", [False, True])
def test_log_never_raises_and_counts_what_it_refuses(start: StartRun, metrics: object, finished: bool) -> None:
    run: Any = start("e")
    if finished:
        run.finish()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.log(metrics)
        run.log(metrics, step="x")
        run.log(metrics, step=object(), time_unix_us="never")
    assert run.flush(5) != finished
    assert sum(run.stats().refused.values()) == run.stats().logged == 3


def test_an_empty_dict_counts_as_nothing(start: StartRun) -> None:
    run = start("e")
    run.log({})
    assert run.stats().logged == 0


def test_a_refused_value_is_warned_about_once_with_its_key(start: StartRun, caplog: pytest.LogCaptureFixture) -> None:
    run = start("e")
    for _ in range(5):
        run.log({"good": 1.0, "shape": np.zeros(3), "text": "x"})
    run.flush(20)
    run.finish()
    assert caplog.text.count("'shape'") == 1
    assert caplog.text.count("'text'") == 1
    assert "of shape (3,)" in caplog.text
    assert dict(run.stats().refused) == {"bad_value": 10}


def test_a_log_handler_that_fails_or_logs_metrics_itself_does_no_harm(start: StartRun) -> None:
    run = start("e")

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            run.log({"from_handler": 1.0})
            raise RuntimeError("broken handler")

    logger, handler = logging.getLogger("runstream"), Handler()
    logger.addHandler(handler)
    try:
        run.log({"bad": "x"})
        run.flush(20)
        run.log({"good": 1.0})
    finally:
        logger.removeHandler(handler)
    assert run.stats().refused["bad_value"] == 1


class Broken:
    """Raises wherever it is touched."""

    def __init__(self, where: str, device: str = "cuda:0") -> None:
        self.where, self.device = where, device

    def _touch(self, where: str) -> None:
        if where == self.where:
            raise OutOfMemory("out of memory")

    @property
    def shape(self) -> tuple[int, ...]:
        self._touch("shape")
        return ()

    def detach(self) -> Broken:
        self._touch("detach")
        return self

    def clone(self) -> Broken:
        self._touch("clone")
        return self

    def __float__(self) -> float:
        self._touch("float")
        return 1.0

    def __repr__(self) -> str:
        raise AssertionError("the value was read to be shown")


class OutOfMemory(RuntimeError):
    def __repr__(self) -> str:
        raise RuntimeError("an exception without words")

    __str__ = __repr__


@pytest.mark.parametrize("where", ["shape", "detach", "clone", "float"])
def test_a_value_that_raises_is_refused_alone(
    agent: TestAgent, start: StartRun, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    run = start("e")
    for step in range(3):
        run.log({"loss": 1.0, "gpu": Broken(where), "lr": np.float32(0.5)}, step=step)
    assert run.flush(120)
    assert dict(run.stats().refused) == {"bad_value": 3}
    assert run.stats().acknowledged == 6
    assert "'gpu' could not be read" in caplog.text
    assert "OutOfMemory: out of memory" in caplog.text


def test_no_exception_gets_out_of_log(start: StartRun, caplog: pytest.LogCaptureFixture) -> None:
    class Row(dict[str, float]):
        def keys(self) -> Any:
            raise OutOfMemory

        __iter__ = __len__ = keys

    class Key(str):
        hashed = False

        def __hash__(self) -> int:
            if self.hashed:
                raise OutOfMemory
            self.hashed = True
            return 1

        __str__ = __repr__ = Broken.__repr__

        def __eq__(self, other: object) -> bool:
            raise OutOfMemory

    run: Any = start("e")
    run.log(Row())
    run.log({"loss": 1.0}, step=Broken("float", "cpu"))
    run.log({"loss": 1.0}, time_unix_us=Broken("shape"))
    run.log({Broken("float"): 1.0, Key("key"): 2.0})
    run.log({Broken("float"): 1.0, Key("key"): 2.0, "array": np.array(3.0), "nested": {10**5_000: 1.0}})
    assert run.flush(120)
    assert dict(run.stats().refused) == {"log_failed": 1, "bad_step": 1, "bad_time": 1, "key_not_a_string": 3}
    assert run.stats().acknowledged == 3
    assert "'<Broken>' is a key of type Broken" in caplog.text


def test_a_param_or_tag_that_raises_is_refused_alone(
    agent: TestAgent, start: StartRun, caplog: pytest.LogCaptureFixture
) -> None:
    class Silent:
        def __str__(self) -> str:
            raise OutOfMemory("no words")

    class Key(str):
        __str__ = __repr__ = Silent.__str__

        def __hash__(self) -> int:
            raise OutOfMemory("no hash")

    run: Any = start("e")
    run.log_params({"silent": Silent(), Broken("float"): 1, "depth": 2})
    run.set_tags(ItemsOf([(Key("key"), "value"), ("silent", Silent())]))
    assert run.flush(120)
    assert dict(agent.runs[run.run_id].params) == {"depth": "2"}
    assert dict(agent.runs[run.run_id].tags) == {"key": "value"}
    assert "param 'silent': its value cannot become a string: OutOfMemory: no words" in caplog.text
    assert "'<Broken>': its key must be a string, not Broken" in caplog.text


class ItemsOf(Mapping[Any, Any]):
    """A mapping of keys that cannot be hashed."""

    def __init__(self, items: list[tuple[Any, Any]]) -> None:
        self._items = items

    def items(self) -> Any:
        return self._items

    def __getitem__(self, key: str) -> Any:
        raise NotImplementedError

    def __iter__(self) -> Iterator[Any]:
        return (key for key, _ in self._items)

    def __len__(self) -> int:
        return len(self._items)


def test_bad_params_and_tags_warn_and_do_not_raise(
    agent: TestAgent, start: StartRun, caplog: pytest.LogCaptureFixture
) -> None:
    class Silent:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    run: Any = start("e")
    run.log_params({7: 1, "x" * 251: 1, "silent": Silent(), "good": 1})
    run.log_params([1])
    run.set_tags({"t": "v" * 9_000})
    assert run.flush(120)
    assert dict(agent.runs[run.run_id].params) == {"good": "1"}
    assert caplog.text.count("refused") == 5
