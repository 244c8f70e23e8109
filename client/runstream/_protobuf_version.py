"""Checks the version of protobuf before generated code is imported, so that an error says what to do."""

from __future__ import annotations

import google.protobuf

# As in pyproject.toml: from the release that generated the code, up to the last one that can run it.
_OLDEST, _BEYOND = (4, 25), (8, 0)


def check(version: str) -> None:
    """Raises ImportError if generated code does not run with this release of protobuf."""
    release = tuple(int(part) if part.isdecimal() else 0 for part in version.split(".")[:2])
    if _OLDEST <= release < _BEYOND:
        return
    oldest, beyond = (".".join(map(str, bound)) for bound in (_OLDEST, _BEYOND))
    raise ImportError(
        f"runstream needs protobuf {oldest} or newer, below {beyond}; protobuf {version} is installed. Install another "
        f'one: pip install "protobuf>={oldest},<{beyond}". If another package needs that version, such as TensorFlow '
        "before 2.12, you can log without this package: point MLflow's client at the HTTP port of the "
        "runstream service."
    )


check(google.protobuf.__version__)
