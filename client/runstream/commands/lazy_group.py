"""A group whose commands are imported when they are used, so that no command waits for the imports of another."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Collection, Mapping
from typing import Any

import click

from runstream.cli import DISTRIBUTIONS


class LazyGroup(click.Group):
    """`sections`: (heading in the help, package) -> name of a command -> "module:name" below that package.

    `unlisted`: packages whose commands the help leaves out where they are not installed. It names those of others.
    """

    def __init__(
        self,
        *args: Any,
        sections: Mapping[tuple[str, str], Mapping[str, str]],
        unlisted: Collection[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._sections = sections
        self._unlisted = unlisted
        self._places = {
            name: f"{package}.{place}" for (_, package), section in sections.items() for name, place in section.items()
        }

    def list_commands(self, ctx: click.Context) -> list[str]:
        if not ctx.resilient_parsing:
            return list(self._places)
        # For the shell, which completes only what there is.
        return [name for (_, package), section in self._sections.items() if _is_installed(package) for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self._places.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for (heading, package), section in self._sections.items():
            if package in self._unlisted and not _is_installed(package):
                continue
            with formatter.section(heading):
                formatter.write_dl([(name, self._short_help(ctx, name)) for name in section])

    def _short_help(self, ctx: click.Context, name: str) -> str:
        try:
            command = self.get_command(ctx, name)
        except ModuleNotFoundError as error:
            missing, _ = DISTRIBUTIONS.get(error.name or "", (error.name, ""))
            return f"({missing} is not installed here)"
        return command.get_short_help_str(limit=200) if command is not None else ""


def _is_installed(package: str) -> bool:
    """Whether the distribution of a package is installed; what it needs may be missing."""
    return importlib.util.find_spec(package.partition(".")[0]) is not None


def version_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --version. The version is read only when it is asked for, as that takes longer than most commands need to
    start."""

    def show(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
        if wanted and not ctx.resilient_parsing:
            from runstream._version import VERSION

            click.echo(f"runstream, version {VERSION}")
            ctx.exit()

    return click.option(
        "--version", is_flag=True, is_eager=True, expose_value=False, callback=show, help="Show the version and exit."
    )(command)
