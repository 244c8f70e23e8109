"""Writes deploy/constraints.txt: the versions, of all that the service needs, that the tests ran with here."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "deploy" / "constraints.txt"
EXTRAS = ("server", "ui")
OURS = "runstream"
_HEAD = "# Versions for the image; `python tools/constraints.py` writes those that are installed, after `make test`.\n"


def pins() -> dict[str, str]:
    """Name -> installed version, of all that these extras need, in whatever depth."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions: dict[str, str] = {}
    todo = [
        (line, "") for extra in EXTRAS for line in project["dependencies"] + project["optional-dependencies"][extra]
    ]
    done = set(todo)
    while todo:
        line, asked_by = todo.pop()
        needed = Requirement(line)
        if needed.marker is None or needed.marker.evaluate({"extra": asked_by}):
            found = distribution(needed.name)
            if canonicalize_name(needed.name) != OURS:  # which names extras of its own
                versions[canonicalize_name(needed.name)] = found.version
            further = {(one, extra) for one in found.requires or () for extra in ("", *needed.extras)} - done
            done |= further
            todo += further
    return versions


if __name__ == "__main__":
    CONSTRAINTS.write_text(_HEAD + "".join(f"{name}=={version}\n" for name, version in sorted(pins().items())))
