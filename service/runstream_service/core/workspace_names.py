"""Names of workspaces."""

from __future__ import annotations

import re

from runstream_service.errors.core import InvalidField

MIN_NAME_CHARACTERS, MAX_NAME_CHARACTERS = 2, 63
# The rule of MLflow, and of names of namespaces in Kubernetes (RFC 1123).
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*[a-z0-9]")
# Reserved by MLflow, since they are parts of its paths.
_RESERVED = frozenset(("workspaces", "api", "ajax-api", "static-files"))


def check_workspace_name(name: str) -> str:
    """Returns the name. Raises InvalidField if a workspace cannot have it."""
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME_CHARACTERS or name in _RESERVED:
        raise InvalidField(
            f"name: {name[:80]!r} cannot be the name of a workspace; it has {MIN_NAME_CHARACTERS} to "
            f"{MAX_NAME_CHARACTERS} lower-case letters, digits and hyphens, no hyphen at either end, and is none of "
            f"{', '.join(sorted(_RESERVED))}",
            field="name",
        )
    return name


def to_look_up(name: str) -> str:
    """Any text as a name that can be looked up: shortened, and without characters that the database does not accept. No
    workspace has such a name."""
    return name[: MAX_NAME_CHARACTERS + 1].replace("\0", "?").encode(errors="replace").decode()
