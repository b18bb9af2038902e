"""docs/etlctl.md documents every command, option and reason, and nothing that does not exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from common.exit_codes import ExitCode
from devtools import PROJECT_ROOT
from etlctl.commands import COMMANDS as NAMES
from etlctl.commands import app_with
from etlctl.coverage.cells import State
from etlctl.verify.present import REASONS
from etlctl.verify.sealed.present import WORDS
from services.verifier.verdict import EXIT_CODES, Verdict

PAGE = (PROJECT_ROOT / "docs" / "etlctl.md").read_text(encoding="utf-8")


def leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Typer comes with a click of its own, or uses the installed one: both look like this."""
    commands = getattr(command, "commands", {})
    for part, inner in commands.items():
        yield from leaves(inner, f"{name} {part}")
    if not commands or command.invoke_without_command:
        yield name, command


COMMANDS = dict(leaves(typer.main.get_command(app_with(NAMES)), "etlctl"))


def section(name: str) -> str:
    """The text below the command's heading."""
    match = re.search(rf"^## `{name}`\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert match, f"docs/etlctl.md has no heading ## `{name}`"
    return match[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented_with_its_command(name: str) -> None:
    rows = re.findall(r"^\| `(--[a-z-]+)(?: ([A-Z=]+))?` \|", section(name), re.MULTILINE)
    options = {
        (option.opts[0], "" if option.is_flag else option.metavar)
        for option in COMMANDS[name].params
        if option.param_type_name == "option" and option.opts != ["--help"]
    }
    assert set(rows) == options


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_is_shown_with_its_command(name: str) -> None:
    for argument in COMMANDS[name].params:
        if argument.param_type_name == "argument":
            word = re.escape(argument.metavar or argument.name.upper())
            assert re.search(rf"`{name} [^`\n]*\b{word}", section(name))


def test_every_command_is_documented_and_no_other() -> None:
    assert set(re.findall(r"^## `(etlctl [^`]+)`$", PAGE, re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_is_documented(verdict: Verdict) -> None:
    row = f"\n| {verdict.words} | `{verdict}` | {EXIT_CODES[verdict]} | "
    assert row in section("etlctl verify")
    assert f"\n| {EXIT_CODES[verdict]} | " in PAGE


@pytest.mark.parametrize("reason", [*REASONS.values(), *WORDS.values()])
def test_every_reason_is_documented(reason: str) -> None:
    assert f"\n| {reason} | " in PAGE


@pytest.mark.parametrize("state", State)
def test_every_sign_of_the_calendar_is_documented(state: State) -> None:
    assert f"\n| `{state.sign}` | {state.words} |\n" in section("etlctl coverage")


@pytest.mark.parametrize(
    "code", [ExitCode.OK, ExitCode.ERROR, ExitCode.CONFIG, ExitCode.DEPENDENCY]
)
def test_every_exit_code_is_documented(code: ExitCode) -> None:
    assert f"\n| {code.value} | " in PAGE
