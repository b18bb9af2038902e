"""What pages name exists, and what exists is named on a page.

Other tests hold a page to its subject (options, alerts, settings); these hold for all pages.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import typer.main
import yaml

from common.runtime.events_table import EVENTS
from common.runtime.metrics_table import METRICS
from devtools import PROJECT_ROOT
from devtools.docs.configuration import render
from etlctl.commands import COMMANDS, app_with
from monitoring.alerts.unreachable import UNREACHABLE
from monitoring.catalogue import all_alerts
from monitoring.thresholds import Thresholds
from services.exporter.settings import OPTIONS as EXPORTER_OPTIONS
from services.simulator.settings import OPTIONS as SIMULATOR_OPTIONS
from tests.unit.docs.pages import PAGES, all_code, code_of, text_of, words

ETLCTL = typer.main.get_command(app_with(COMMANDS))
MAKEFILE = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][\w-]*):(?!=)", MAKEFILE, re.MULTILINE))
# A line that runs it, where it begins or behind a prompt, a variable, a container or a pipe.
CALL = re.compile(
    r"(?:^|[|;] )(?:\$ )?(?:[A-Z_]+=\S+ )*(?:docker compose run (?:--?\S+ )*|\.venv/bin/)?"
    r"etlctl ([^#;&>]*)"
)


@cache
def sources() -> str:
    """Everything that is no page and no unit test, as one text."""
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.splitlines()
    skipped = (".md", ".lock", ".png", ".svg")
    paths = [PROJECT_ROOT / name for name in names if not name.endswith(skipped)]
    unit = PROJECT_ROOT / "tests" / "unit"
    return "\n".join(
        path.read_text(encoding="utf-8", errors="replace")
        for path in paths
        if path.is_file() and not path.is_symlink() and not path.is_relative_to(unit)
    )


def unknown_words(call: str) -> Iterator[str]:
    """Commands and options of one call of etlctl that it does not have."""
    command: Any = ETLCTL
    waiting = call.replace("[", "").replace("]", "").split()
    while waiting and waiting[0] in getattr(command, "commands", {}):
        command = command.commands[waiting.pop(0)]
    if getattr(command, "commands", {}) and waiting and re.fullmatch("[a-z][a-z-]*", waiting[0]):
        yield waiting[0]
    options = {"--help"}.union(*(option.opts for option in command.params))
    for word in waiting:
        option = re.match(r"--[a-z][a-z-]*", word)
        if option and option[0] not in options:
            yield option[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_of_etlctl_exist(page: Any) -> None:
    for piece in code_of(page):
        for call in CALL.findall(piece):
            assert list(unknown_words(call)) == [], piece


@pytest.mark.parametrize(
    ("call", "unknown"),
    [
        ("status --json", []),
        ("status --nope", ["--nope"]),
        ("nope", ["nope"]),
        ("backfill nope", ["nope"]),
        ("verify [--from TIME]", []),
    ],
)
def test_what_does_not_exist_is_noticed(call: str, unknown: list[str]) -> None:
    assert list(unknown_words(call)) == unknown


def test_make_targets_are_those_of_the_makefile() -> None:
    # It is a verb too, in the middle of a message.
    assert set(words(r"(?:^|[;&#] )(?:[A-Z_]+=\S+ )*make ([a-z][a-z-]*)")) == TARGETS


def test_variables_exist() -> None:
    known = set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", sources()))
    for options in (EXPORTER_OPTIONS, SIMULATOR_OPTIONS):
        known |= {options.variable(option.name) for option in options.options}
    for word, pages in words(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9]\b").items():
        if word.startswith("ETL__"):
            key = word.removeprefix("ETL__").replace("__", ".").lower()
            assert f"`{key}`" in render(), (word, pages)
        else:
            assert word in known, (word, pages)


def test_every_variable_is_named() -> None:
    """Those of compose are in test_compose_files.py, those of etl.yaml follow from its keys."""
    prefixes = "ETL|DEMO|CHAOS|SCREENSHOT|BENCH|FUZZ|SIMULATOR|ALERT"
    used = set(re.findall(rf'"((?:{prefixes})(?:_[A-Z0-9]+)+)"', sources()))
    used |= set(re.findall(r"^(?:export )?([A-Z_]+) \?=", MAKEFILE, re.MULTILINE))
    used -= {"ETL_METRICS"}  # a name in the metrics' table, and no variable
    code = all_code()
    assert sorted(name for name in used if not re.search(rf"\b{name}\b", code)) == []


def test_metrics_exist() -> None:
    metrics = {spec.name for spec in METRICS}
    suffix = r"_(?:total|seconds|bytes|samples|entries|info|bucket|count|sum)"
    for word, pages in words(rf"(?<![\w:])etl_\w*{suffix}\b").items():
        plain = re.sub("_(bucket|sum|count)$", "", word)
        assert word in metrics or plain in metrics, (word, pages)


def test_every_metric_and_event_is_named() -> None:
    code = set(re.findall(r"\w+", all_code()))
    metrics = {spec.name for spec in METRICS}
    assert sorted({*metrics, *EVENTS} - code) == []


def test_alerts_are_those_that_are_defined() -> None:
    named = {word for page in PAGES for word in re.findall(r"\bEtl[A-Z]\w+", text_of(page))}
    assert named == {alert.name for alert in (*all_alerts(Thresholds()), UNREACHABLE)}


def test_ports_exist() -> None:
    # A proxy, an Alertmanager, and ports where nothing listens.
    known = {*re.findall(r"\b\d{4,5}\b", sources()), "3128", "9093", "9099", "6399"}
    for port, pages in words(r"[a-z0-9\]]:(\d{4,5})\b").items():
        assert port in known, (port, pages)


def test_every_published_port_is_named() -> None:
    page = (PROJECT_ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    for name in ("docker-compose.yml", "docker-compose.monitoring.yml"):
        document = yaml.safe_load((PROJECT_ROOT / name).read_text(encoding="utf-8"))
        for service, definition in document["services"].items():
            for port in definition.get("ports", ()):
                default = re.search(r":-(\d+)\}", port)
                assert default, port
                assert f"| {service} " in page and f"127.0.0.1:{default[1]} |" in page, port
