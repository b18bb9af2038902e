"""Every alert's first step is a command, and every command of the runbook can be given so."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer.main
import yaml

from common.runtime.events_table import EVENTS
from devtools import PROJECT_ROOT
from etlctl.commands import COMMANDS, app_with
from monitoring.render.runbook import PAGE, first_step, sections

ETLCTL = typer.main.get_command(app_with(COMMANDS))
# What stands for something that the reader knows.
PLACEHOLDERS = {"TIME": "-1h", "SERVICE": "loader"}
SERVICES = {
    service
    for name in ("docker-compose.yml", "docker-compose.monitoring.yml")
    for service in yaml.safe_load((PROJECT_ROOT / name).read_text(encoding="utf-8"))["services"]
}
TARGETS = set(re.findall(r"^([a-z-]+):", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE))
# Subcommands of docker compose that are used, and which of their options take a value.
COMPOSE = {
    "ps": {"-a": False},
    "logs": {"--since": True, "--tail": True},
    "up": {},
    "restart": {},
    "exec": {},
}
PROGRAMS = ("etlctl", "make", "docker compose")
BY_ALERT = {section.alert: first_step(section) for section in sections()}
QUOTED = sorted(
    {
        text
        for text in re.findall(r"`([^`\n]+)`", PAGE.read_text(encoding="utf-8"))
        if text.startswith(tuple(f"{program} " for program in PROGRAMS)) and "…" not in text
    }
)


def check_etlctl(words: list[str]) -> None:
    """Click takes the words, up to the function that would be called."""
    command: Any = ETLCTL
    name = words.pop(0)
    while hasattr(command, "commands") and words and words[0] in command.commands:
        name = words.pop(0)
        command = command.commands[name]
    if hasattr(command, "commands"):  # named as a whole
        assert not words, f"there is no {name} {words[0]}"
        return
    command.make_context(name, words)


def check_compose(words: list[str]) -> None:
    """The subcommand, its options, and services that there are."""
    assert words[:2] == ["docker", "compose"]
    _, _, subcommand, *rest = words
    options = COMPOSE[subcommand]
    services = []
    while rest:
        word = rest.pop(0)
        if word.startswith("-"):
            assert word in options, word
            if options[word]:
                rest.pop(0)
        else:
            services.append(word)
            if subcommand == "exec":
                break
    assert set(services) <= SERVICES


def check_grep(words: list[str]) -> None:
    """Each pattern finds an event that is logged."""
    assert words.pop(0) == "grep"
    patterns = words[1].split("|") if words[0] == "-E" else words
    for pattern in patterns:
        assert [name for name in EVENTS if pattern in name], pattern


@pytest.mark.parametrize("text", QUOTED)
def test_command_can_be_given(text: str) -> None:
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(text)]
    if words[0] == "make":
        assert words[1] in TARGETS
    elif words[0] == "etlctl":
        check_etlctl(words)
    elif "|" in words:
        end = words.index("|")
        check_compose(words[:end])
        check_grep(words[end + 1 :])
    else:
        check_compose(words)


@pytest.mark.parametrize("alert", BY_ALERT)
def test_first_step_begins_with_a_command(alert: str) -> None:
    found = re.match(r"`([^`]+)`", BY_ALERT[alert])
    assert found and found[1] in QUOTED, BY_ALERT[alert]


def test_what_cannot_be_given_is_found() -> None:
    for text in ("etlctl status --nonsense", "etlctl nonsense", "etlctl verify --from"):
        with pytest.raises(Exception, match=r"(?i)no such|there is no|requires an argument"):
            check_etlctl(text.split())
    for text in ("docker compose logs nobody", "docker compose logs --nonsense loader"):
        with pytest.raises(AssertionError):
            check_compose(text.split())
    with pytest.raises(AssertionError):
        check_grep(["grep", "no_such_event"])
