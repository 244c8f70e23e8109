"""Errors of subcommands, in one line on stderr. Exit code 1 means failure, 2 wrong usage, 130 Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

import click

from runstream._masking import mask_secrets


@contextlib.contextmanager
def in_one_line() -> Iterator[None]:
    """Reports an error in one line, and sets the exit code."""
    try:
        yield
    except BrokenPipeError:
        # `runstream tail ... | head`. The rest of the buffer would raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError:
        raise  # runstream.cli says what to install
    except Exception as error:
        message = _message_of(error)
        if message is None:
            raise
        fail(*message)


def fail(message: str, code: int = 1) -> NoReturn:
    """Prints the message and ends the command."""
    click.echo(_in_lines(f"runstream: {mask_secrets(message)}"), err=True)
    sys.exit(code)


def _in_lines(message: str) -> str:
    """The message, wrapped between words for a terminal; unchanged elsewhere, for programs that read it."""
    if not sys.stderr.isatty():
        return message
    import shutil
    import textwrap

    width = shutil.get_terminal_size().columns
    wrap = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False, drop_whitespace=True)
    return "\n".join(line if len(line) <= width else wrap.fill(line) for line in message.split("\n"))


def _message_of(error: Exception) -> tuple[str, int] | None:
    """Message and exit code of an expected error; None if it is a bug."""
    if _is(error, "runstream_service.errors.startup", "StartupError"):
        return str(error), error.exit_code  # type: ignore[attr-defined]
    if _is(error, "runstream_service.errors.core", "CoreError"):
        return error.message, 1  # type: ignore[attr-defined]
    if _is(error, "asyncpg", "PostgresError"):
        return f"the database refused: {error}", 1
    if _is(error, "runstream.errors", "RunstreamError") or isinstance(error, OSError):
        return str(error), 1
    return (str(error), 2) if isinstance(error, ValueError) else None


def _is(error: Exception, module: str, name: str) -> bool:
    """As isinstance, but without importing the class: if it was never imported, it was not raised."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(error, kind)
