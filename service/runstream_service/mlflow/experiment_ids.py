"""Ids of experiments in requests.

Scripts that choose no experiment use the id 0, which is built into MLflow's client. In the workspace `default`, it is
the id of the experiment Default; in any other workspace, it stands for the experiment Default of that workspace.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runstream_service.concurrency import threads
from runstream_service.http.mlflow_errors import invalid
from runstream_service.mlflow.request import check_not_empty

if TYPE_CHECKING:
    from runstream_service.core.caller import Caller
    from runstream_service.core.experiments import Experiments

BUILT_IN = 0
_ID = re.compile(r"-?[0-9]{1,18}")


class ExperimentIds:
    """Parses the ids in the requests of a caller."""

    def __init__(self, experiments: Experiments) -> None:
        self._experiments = experiments

    async def parse(self, caller: Caller, text: str) -> int:
        """The id that a text stands for. Raises MlflowError if it is not a number."""
        (experiment_id,) = await self._meant(caller, [_parse(text)])
        return experiment_id

    async def parse_each(self, caller: Caller, texts: Sequence[str]) -> Sequence[int]:
        """The ids that several texts stand for, in the same order. Raises MlflowError if one is not a number."""
        return await self._meant(caller, await threads.call_each(_parse, texts))

    async def _meant(self, caller: Caller, ids: Sequence[int]) -> Sequence[int]:
        if BUILT_IN not in ids:
            return ids
        default = await self._experiments.default_id(caller)
        return [default if experiment_id == BUILT_IN else experiment_id for experiment_id in ids]


def _parse(text: str) -> int:
    check_not_empty(text, "experiment_id")
    if not _ID.fullmatch(text):
        raise invalid(f"Invalid experiment ID '{text[:80]}'. Experiment ID must be a valid integer.")
    return int(text)
