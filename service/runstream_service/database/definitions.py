"""The current text of every SQL function and view, one file each: `functions/NAME.sql` and `views/NAME.sql`.

A migration installs a definition at its line `-- install: NAME FINGERPRINT`, without a copy of the text. If several
migrations name a definition, only the last one installs it, and its line has the fingerprint of the current text. So a
changed file needs a new migration, and replicas of two releases agree on whose text is newer.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

KINDS = {"functions": "FUNCTION", "views": "VIEW"}

# A file: a comment, then the statements that make the function (several if it is overloaded) or the view.
_FILE = re.compile(r"(?:--[^\n]*\n|\n)*(?P<statements>CREATE .*\n)", re.DOTALL)
_CREATED = re.compile(r"^CREATE (OR REPLACE )?(FUNCTION|VIEW) (\w+)", re.MULTILINE)
# The three ways in which a migration mentions a definition: it installs the text of its file, has its own text, or
# drops it.
_MENTION = re.compile(
    r"^(?:-- install: (?P<installed>\w+)(?: (?P<fingerprint>\w+))?$"
    r"|CREATE (?:OR REPLACE )?(?:FUNCTION|VIEW) (?P<created>\w+)"
    r"|DROP (?:FUNCTION|VIEW) (?:IF EXISTS )?(?P<dropped>\w+))",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Definition:
    """One file. Its statements are CREATE OR REPLACE, so they may be run again at any time."""

    file_name: str
    name: str
    statements: str

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the statements, without the comment above them, which may be edited freely."""
        return hashlib.sha256(self.statements.encode()).hexdigest()[:12]


def packaged_definitions() -> dict[str, Definition]:
    """The definitions of this release, by name."""
    folder = resources.files(__package__)
    return parse_definitions(
        {
            f"{kind}/{file.name}": file.read_text("utf-8")
            for kind in KINDS
            for file in (folder / kind).iterdir()
            if file.name.endswith(".sql")
        }
    )


def parse_definitions(files: Mapping[str, str]) -> dict[str, Definition]:
    """The definitions in files (`functions/NAME.sql` -> text), by name. Raises ValueError, a bug of this release, if a
    file creates anything but the object of its name."""
    definitions: dict[str, Definition] = {}
    for file_name, text in sorted(files.items()):
        folder, _, name = file_name.removesuffix(".sql").partition("/")
        created = ("OR REPLACE ", KINDS[folder], name)
        form = _FILE.fullmatch(text)
        if form is None or set(_CREATED.findall(text)) != {created}:
            raise ValueError(f"{file_name}: must be a comment and CREATE OR REPLACE {KINDS[folder]} {name}")
        if name in definitions:
            raise ValueError(f"{definitions[name].file_name} and {file_name} have the same name")
        definitions[name] = Definition(file_name, name, form["statements"])
    return definitions


def with_definitions(migrations: Sequence[str], definitions: Mapping[str, Definition]) -> list[str]:
    """The statements of each migration, in order: its own, and the texts of the definitions that it is the last to
    name.

    Earlier migrations install nothing: the text of that time is not kept, and the current one may need tables that a
    later migration makes. Until then, a database that is being migrated keeps the text that it has.

    Raises:
        ValueError: a bug of this release. The last mention of a definition in the migrations does not install the text
        of its file, or there is no file and it is not dropped.
    """
    last: dict[str, tuple[int, re.Match[str]]] = {}
    for number, sql in enumerate(migrations):
        for match in _MENTION.finditer(sql):
            last[match["installed"] or match["created"] or match["dropped"]] = (number, match)
    for name, definition in definitions.items():
        if name not in last or last[name][1]["fingerprint"] != definition.fingerprint:
            raise ValueError(
                f"{definition.file_name} is not the text that the migrations install; add a migration with the line\n"
                f"-- install: {name} {definition.fingerprint}"
            )
    for name, (_, match) in last.items():
        if name not in definitions and not match["dropped"]:
            raise ValueError(f"there is no file with the text of {name}, and no later migration drops it")
    places = {(number, match.start()): name for name, (number, match) in last.items() if match["installed"]}
    return [_with_texts(number, sql, places, definitions) for number, sql in enumerate(migrations)]


def _with_texts(
    number: int, sql: str, places: Mapping[tuple[int, int], str], definitions: Mapping[str, Definition]
) -> str:
    def text(match: re.Match[str]) -> str:
        name = places.get((number, match.start()))
        return f"{match[0]}\n{definitions[name].statements}" if name else match[0]

    return _MENTION.sub(text, sql)
