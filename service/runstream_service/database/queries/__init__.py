"""SQL statements with names: one file for each area. A statement follows `-- name: NAME` and a comment that says what
it is for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def load(area: str) -> Mapping[str, str]:
    """The statements of the file `AREA.sql`, by name."""
    text = (resources.files(__name__) / f"{area}.sql").read_text("utf-8")
    _, *parts = _NAME.split(text)
    statements = {name: sql.strip().removesuffix(";") for name, sql in zip(parts[::2], parts[1::2], strict=True)}
    if len(statements) != len(parts) // 2:
        raise ValueError(f"{area}.sql has two statements of one name")
    return statements
