"""Rules for names in the model registry: those of MLflow, with its messages, since only MLflow's routes serve the
registry."""

from __future__ import annotations

import json
import posixpath
import re

from runstream_service.core.names import check_name, check_storable, check_text
from runstream_service.errors.core import InvalidField

MAX_NAME_CHARACTERS = 256
MAX_ALIAS_CHARACTERS = 255
MAX_TAG_CHARACTERS = 100_000
MAX_DESCRIPTION_CHARACTERS = 65_535
MAX_SOURCE_CHARACTERS = 2_048
MAX_RUN_ID_CHARACTERS = 256

STAGES = ("None", "Staging", "Production", "Archived")
ACTIVE_STAGES = ("Staging", "Production")
LATEST = "latest"

_CANONICAL = {stage.lower(): stage for stage in STAGES}
_ALIAS = re.compile(r"[\w\-]*")
_VERSION_ALIAS = re.compile(r"[vV]\d+")


def check_new_model_name(name: str, *, field: str = "name") -> str:
    """Returns the name. Raises InvalidField if a new registered model cannot have it."""
    check_model_name(name, field=field)
    return check_name(name, field=field, max_characters=MAX_NAME_CHARACTERS)


def check_model_name(name: str, *, field: str = "name") -> str:
    """Returns the name. Raises InvalidField if no registered model can have it: names are parts of `models:/name/1` and
    of paths, so they must not contain their separators.
    """
    if not name.strip():
        raise InvalidField(f"Missing value for required parameter '{field}'.", field=field)
    if "/" in name or ":" in name:
        raise InvalidField(f"Invalid model name '{name[:80]}'. Names cannot contain '/' or ':'.", field=field)
    if name in (".", "..") or name.startswith(".."):
        raise InvalidField(
            f"Invalid value {json.dumps(name[:80])} for parameter '{field}' supplied: Names may be treated as files in "
            "certain cases, and must not resolve to other names when treated as such. This name would resolve to "
            f"{posixpath.normpath(name[:80])!r}",
            field=field,
        )
    return check_storable(name, field=field)


def check_description(text: str) -> str:
    """Returns the description. Raises InvalidField if it is too long or cannot be stored."""
    return check_text(text, field="description", max_characters=MAX_DESCRIPTION_CHARACTERS)


def check_alias(alias: str) -> str:
    """Returns the alias. Raises InvalidField if it has a wrong form; `latest` is accepted."""
    if not alias:
        raise InvalidField("Registered model alias name cannot be empty.", field="alias")
    if not _ALIAS.fullmatch(alias):
        raise InvalidField(
            f"Invalid alias name: '{alias[:80]}'. Names may only contain alphanumerics, underscores (_), and dashes "
            "(-).",
            field="alias",
        )
    if len(alias) > MAX_ALIAS_CHARACTERS:
        raise InvalidField(
            f"'Registered model alias name' exceeds the maximum length of {MAX_ALIAS_CHARACTERS} characters",
            field="alias",
        )
    return alias


def check_new_alias(alias: str) -> str:
    """Returns the alias. Raises InvalidField if it cannot be set: `latest` and names such as `v1` are reserved."""
    check_alias(alias)
    if alias.lower() == LATEST:
        raise InvalidField("'latest' alias name (case insensitive) is reserved.", field="alias")
    if _VERSION_ALIAS.fullmatch(alias):
        raise InvalidField(f"Version alias name '{alias}' is reserved.", field="alias")
    return alias


def canonical_stage(stage: str) -> str:
    """The stage as it is stored, for a spelling in any case. Raises InvalidField if it is unknown."""
    if stage.lower() not in _CANONICAL:
        raise InvalidField(
            f"Invalid Model Version stage: {stage[:80]}. Value must be one of {', '.join(STAGES)}.", field="stage"
        )
    return _CANONICAL[stage.lower()]
