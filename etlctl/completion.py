"""``etlctl completion``: the script that lets a shell complete commands and options."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import typer

_NAME = "etlctl"
# The script sets it, and one of the others to what was typed so far.
_VARIABLE = "_ETLCTL_COMPLETE"
_TYPED = ("COMP_WORDS", "_TYPER_COMPLETE_ARGS")


class Shell(StrEnum):
    """Those that the script is tried for."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


Which = Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]


def completion(shell: Which) -> None:
    """Print the script that lets a shell complete the command.

    For bash: eval "$(etlctl completion bash)"
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    typer.echo(get_completion_script(prog_name=_NAME, complete_var=_VARIABLE, shell=shell))


def typed_words(environ: Mapping[str, str] = os.environ) -> list[str] | None:
    """What was typed after the command's name, if a shell asks how it goes on, else None."""
    if _VARIABLE not in environ:
        return None
    from typer.completion import completion_init  # type: ignore[attr-defined]

    completion_init()
    typed = next((environ[name] for name in _TYPED if name in environ), "")
    return typed.split()[1:]
