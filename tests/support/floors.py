"""The oldest versions that a distribution says it runs with."""

from __future__ import annotations

import tomllib
from packaging.requirements import Requirement

from tests.support.markdown import ROOT


def floors(directory: str, *extras: str) -> dict[str, str]:
    """Name -> lower bound of each dependency of client/ or service/ and of these extras, without our own packages.

    Raises ValueError if one has no lower bound.
    """
    project = tomllib.loads((ROOT / directory / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    needed = [Requirement(line) for group in groups for line in group]
    return {one.name: _floor_of(one) for one in needed if not one.name.startswith("runstream")}


def _floor_of(needed: Requirement) -> str:
    (lowest,) = (part.version for part in needed.specifier if part.operator == ">=")
    return lowest
