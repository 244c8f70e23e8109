"""Subcommand completion: what a shell needs to complete commands and options."""

from __future__ import annotations

import click

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print the script with which SHELL completes commands and options.

    \b
    bash, in ~/.bashrc:  eval "$(runstream completion bash)"
    zsh, in ~/.zshrc:    eval "$(runstream completion zsh)"
    fish, once:
      runstream completion fish > ~/.config/fish/completions/runstream.fish
    """
    from click.shell_completion import get_completion_class

    from runstream.commands import runstream

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(runstream, {}, "runstream", "_RUNSTREAM_COMPLETE").source())
