"""Options that several commands share stand in the place of the command's parameter."""

from __future__ import annotations

import inspect
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from etlctl.options import shared_options

Word = Annotated[str, typer.Option("--word", help="A word.")]
Times = Annotated[int, typer.Option("--times", help="How often.")]
Loud = Annotated[bool, typer.Option("--loud", help="Louder.")]
Name = Annotated[str, typer.Argument(metavar="NAME")]


def phrase_of(word: Word = "hello", times: Times = 1) -> str:
    """A phrase."""
    return " ".join([word] * times)


@shared_options("phrase", phrase_of)
def greeting_of(name: Name, *, phrase: str) -> str:
    """A maker that takes what another one makes."""
    if not phrase:
        raise typer.BadParameter("nothing to say")
    return f"{phrase} {name}"


def app_of(command: object) -> typer.Typer:
    app = typer.Typer(rich_markup_mode=None)
    assert callable(command)
    app.command()(command)
    return app


@shared_options("greeting", greeting_of)
def greet(*, greeting: str, loud: Loud = False) -> None:
    """Greet somebody."""
    typer.echo(greeting.upper() if loud else greeting)


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["you"], "hello you\n"),
        (["--word", "hi", "--times", "2", "you"], "hi hi you\n"),
        (["--loud", "you"], "HELLO YOU\n"),
    ],
)
def test_the_command_is_given_what_was_made(arguments: list[str], printed: str) -> None:
    result = CliRunner().invoke(app_of(greet), arguments)
    assert (result.exit_code, result.stdout) == (0, printed)


def test_shared_options_stand_in_the_place_of_the_parameter() -> None:
    assert [*inspect.signature(greet).parameters] == ["name", "word", "times", "loud"]
    assert greet.__doc__ == "Greet somebody."


def test_what_a_maker_refuses_is_a_wrong_command_line() -> None:
    result = CliRunner().invoke(app_of(greet), ["--times", "0", "you"])
    assert result.exit_code == 2
    assert "nothing to say" in result.stderr


def test_one_option_name_in_both_is_a_mistake() -> None:
    def twice(*, phrase: str, word: Word = "") -> None: ...

    with pytest.raises(ValueError, match="word"):
        shared_options("phrase", phrase_of)(twice)
