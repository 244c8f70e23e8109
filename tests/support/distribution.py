"""A plugin for `--dist loadfile`: some directories run in one process each, and tests/mlflow in two.

Their files share fixtures that are expensive to start, and a fixture is made once for each process that asks for it:
there were five stock MLflow servers, and five services to compare with them.

In one process, tests/mlflow would take longer than everything else does in the others. What needs a browser needs
little of what the others share.
"""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

# The first one that a file is below.
_IN_ONE_PROCESS = (
    *("tests/access", "tests/imports", "tests/mlflow/browser", "tests/mlflow"),
    *("tests/page", "tests/web"),
)


class FilesOrDirectories(LoadFileScheduling):  # type: ignore[misc]  # it has no types
    """Hands out files, or all files below such a directory at once."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((one for one in _IN_ONE_PROCESS if file.startswith(f"{one}/")), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FilesOrDirectories | None:
    """None: the scheduler that was asked for."""
    return FilesOrDirectories(config, log) if config.getvalue("dist") == "loadfile" else None
