"""The arguments of `start_run` that describe the run. They are checked before it starts, or where a framework's logger
is made, so that a wrong one raises there and not in the middle of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from runstream import _identity, _params_tags


class StartArguments(NamedTuple):
    """The arguments as `start_run` documents them. None: not passed."""

    experiment: str | None
    name: str | None
    run_id: str | None
    rank: int | None
    attempt: int | None
    params: dict[str, str]
    tags: dict[str, str]

    @classmethod
    def checked(
        cls,
        experiment: str | None = None,
        name: str | None = None,
        run_id: str | None = None,
        rank: int | None = None,
        attempt: int | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> StartArguments:
        """Checks and converts the arguments. Raises TypeError or ValueError, which names the argument."""
        _params_tags.check_name("experiment", experiment)
        _params_tags.check_name("name", name)
        return cls(
            experiment,
            name,
            None if run_id is None else _identity.check_run_id(run_id),
            _identity.check_int32("rank", rank),
            _identity.check_int32("attempt", attempt),
            _params_tags.validate_all("param", params or {}),
            _params_tags.validate_all("tag", tags or {}),
        )

    @property
    def identity_arguments(self) -> dict[str, Any]:
        """The arguments for `_identity.resolve`."""
        return {
            "experiment": self.experiment,
            "name": self.name,
            "run_id": self.run_id,
            "rank": self.rank,
            "attempt": self.attempt,
        }
