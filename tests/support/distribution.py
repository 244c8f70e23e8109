"""A plugin for `--dist loadfile`: some directories run in one process each, and tests/mlflow in two.

Their files share fixtures that are expensive to start, and a fixture is made once for each process that asks for it:
there were five stock MLflow servers, and five services to compare with them.

In one process, tests/mlflow would take longer than everything else does in the others. What needs a browser needs
little of what the others share.

Tests of acceptance and adversity mostly wait, for services that start, fail and recover; others keep a processor busy.
So the files of both kinds are handed out by turns: otherwise all processes would wait at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

# The first one that a file is below.
_IN_ONE_PROCESS = (
    *("tests/access", "tests/imports", "tests/mlflow/browser", "tests/mlflow"),
    *("tests/page", "tests/web"),
)
# Directories whose tests mostly wait, and those whose tests mostly compute.
_WAITING = ("tests/acceptance/", "tests/adversity/")
# Those of more than a minute: one that started last would keep everybody waiting.
_LONG = tuple(
    f"tests/{name}.py" for name in ("adversity/test_workers", "acceptance/test_bench", "acceptance/test_serve_tls")
)
_COMPUTING = ("tests/deploy/", "tests/integration/", "tests/unit/")
# This share of the computing files is handed out between the waiting ones, and the rest at the end: they are short, so
# all processes finish at about the same time.
_BETWEEN = 0.7


def by_turns(files: Sequence[str]) -> list[str]:
    """The order in which files start: what belongs to neither kind first, since it takes longest."""
    waiting = sorted((file for file in files if file.startswith(_WAITING)), key=lambda file: file not in _LONG)
    computing = [file for file in files if file.startswith(_COMPUTING)]
    order = [file for file in files if not file.startswith(_WAITING + _COMPUTING)]
    each = _BETWEEN * len(computing) / max(1, len(waiting))
    for number, file in enumerate(waiting):
        order += [file, *computing[round(number * each) : round((number + 1) * each)]]
    return order + computing[round(len(waiting) * each) :]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In the processes of xdist, each of which has to find the same order."""
    if not hasattr(config, "workerinput"):
        return
    found = list(dict.fromkeys(_file(item.nodeid) for item in items))
    order = {file: number for number, file in enumerate(by_turns(found))}
    items.sort(key=lambda item: order[_file(item.nodeid)])


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0]


class FilesOrDirectories(LoadFileScheduling):  # type: ignore[misc]  # it has no types
    """Hands out files, or all files below such a directory at once."""

    def _split_scope(self, nodeid: str) -> str:
        file = _file(nodeid)
        return next((one for one in _IN_ONE_PROCESS if file.startswith(f"{one}/")), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FilesOrDirectories | None:
    """None: the scheduler that was asked for."""
    return FilesOrDirectories(config, log) if config.getvalue("dist") == "loadfile" else None
