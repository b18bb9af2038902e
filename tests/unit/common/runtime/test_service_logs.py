"""The log: JSON lines, one shape for all, without secrets, rotated when in a file."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from common.config import Settings
from common.errors import ConfigError
from common.runtime.logs import EventLog, configure_logging, rotating_file
from common.runtime.service import secrets_in
from common.runtime.telemetry import Telemetry
from tests.support.settings_files import PLAIN


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    levels = {
        name: logging.getLogger(name).level for name in ("rq", "rq.worker", "urllib3", "redis")
    }
    yield
    logging.captureWarnings(False)
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raising
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


class Output(io.StringIO):
    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


def configured(
    secrets: tuple[str, ...] = (), level: str = "INFO", file: logging.Handler | None = None
) -> Output:
    output = Output()
    configure_logging("loader", level, secrets, output, file)
    return output


def test_an_event_is_one_json_line_with_the_fixed_fields_first() -> None:
    output = configured()
    Telemetry("loader").emit("sink_resumed", held_seconds=1.5)
    (line,) = output.lines
    assert list(line) == ["timestamp", "level", "service", "event", "held_seconds"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("timestamp"))
    assert line == {
        "level": "info",
        "service": "loader",
        "event": "sink_resumed",
        "held_seconds": 1.5,
    }


def test_libraries_log_in_the_same_shape() -> None:
    output = configured()
    logging.getLogger("urllib3.connectionpool").warning("pool of %s is full", "influxdb")
    (line,) = output.lines
    assert (line["level"], line["event"]) == ("warning", "pool of influxdb is full")
    assert (line["service"], line["logger"]) == ("loader", "urllib3.connectionpool")


def test_warnings_are_lines_too() -> None:
    output = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old news", stacklevel=1)
    (line,) = output.lines
    assert "old news" in line["event"]


def test_the_level_is_obeyed_and_talkative_libraries_wait_for_debug() -> None:
    def lines(level: str) -> list[str]:
        output = configured(level=level)
        telemetry = Telemetry("loader")
        telemetry.emit("sink_resumed")
        telemetry.emit("sink_failed", cause="timeout")
        logging.getLogger("rq.worker").info("job done")
        return [line["event"] for line in output.lines]

    assert lines("DEBUG") == ["sink_resumed", "sink_failed", "job done"]
    assert lines("INFO") == ["sink_resumed", "sink_failed"]
    assert lines("WARNING") == ["sink_failed"]
    assert lines("ERROR") == []


def test_a_silenced_event_still_counts() -> None:
    configured(level="ERROR")
    telemetry = Telemetry("loader")
    telemetry.emit("sink_failed", cause="timeout")
    found = telemetry.registry.get_sample_value("etl_sink_failures_total", {"cause": "timeout"})
    assert found == 1


def test_secrets_are_masked_wherever_they_appear() -> None:
    output = configured(("hunter2", "ab"))
    log = EventLog()
    log.info("with hunter2", url="http://u:hunter2@h", deep={"hunter2": ["x hunter2"]}, absent=1)
    log.info("typed", token=SecretStr("other"), raw=b"hunter2\xff")
    logging.getLogger("redis").error("AUTH %s", "hunter2")
    try:
        raise ValueError("bad hunter2")
    except ValueError as error:
        log.error("failed", exc_info=error)
    text = output.getvalue()
    assert "hunter2" not in text
    assert "other" not in text
    first, second, third, fourth = output.lines
    assert first["deep"] == {"********": ["x ********"]}
    assert first["absent"] == 1  # "ab" is too short to be looked for
    assert (second["token"], second["raw"]) == ("**********", "********\\xff")
    assert third["event"] == "AUTH ********"
    assert fourth["error"] == "bad ********"


def test_a_secret_that_is_a_common_word_leaves_names_of_ours_legible() -> None:
    output = configured(("replica", "loader", "2026"))
    EventLog().warning("replica_away", url="http://replica-1")
    logging.getLogger("redis").error("replica")
    (first, second) = output.lines
    assert (first["service"], first["event"], first["url"]) == (
        "loader",
        "replica_away",
        "http://********-1",
    )
    assert "*" not in first["timestamp"]
    assert second["event"] == "********"


def test_secrets_of_several_sources_and_of_headers_are_masked_too() -> None:
    sources = [
        {"name": name, "url": f"http://{name}:1", "labels": {"site": name}, "auth": auth}
        for name, auth in (
            ("a", {"username": "u", "password": "hunter2"}),
            ("b", {"bearer_token": "t0ken"}),
        )
    ]
    sources[1]["headers"] = {"X-Key": "k3y-of-b"}
    load = {"influxdb": {**PLAIN["load"]["influxdb"], "headers": {"X-Tenant": "t3nant"}}}
    settings = Settings.model_validate({**PLAIN, "extract": {"sources": sources}, "load": load})
    assert {"hunter2", "t0ken", "k3y-of-b", "t3nant"} <= set(secrets_in(settings))
    extract = {**PLAIN["extract"], "headers": {"X-Key": "k3y"}}
    assert "k3y" in set(secrets_in(Settings.model_validate({**PLAIN, "extract": extract})))


def test_whatever_is_logged_is_json() -> None:
    output = configured()
    odd = {
        "nan": float("nan"),
        "inf": float("-inf"),
        "text": "\ud800\n\x00",
        "set": {1},
        "obj": Path("a"),
    }
    EventLog().info("odd", **odd, event_="x", big=2**80, none=None)
    (line,) = output.lines
    assert (line["nan"], line["inf"], line["set"]) == ("nan", "-inf", [1])
    assert (line["obj"], line["big"], line["none"]) == ("a", 2**80, None)
    assert output.getvalue().isascii()


@pytest.mark.parametrize(("level", "has_traceback"), [("INFO", False), ("DEBUG", True)])
def test_tracebacks_are_for_debug(level: str, has_traceback: bool) -> None:
    output = configured(level=level)
    try:
        raise KeyError("missing")
    except KeyError as error:
        Telemetry("loader").emit("service_failed", exc_info=error)
        logging.getLogger("somebody").exception("theirs")
    for line in output.lines:
        assert (line["error_type"], line["error"]) == ("KeyError", "'missing'")
        assert ("Traceback" in json.dumps(line)) is has_traceback


def test_the_file_gets_the_same_lines_and_is_rotated(tmp_path: Path) -> None:
    log_file = tmp_path / "logs" / "{service}-{pid}.log"
    output = configured(file=rotating_file("loader", str(log_file), 4096, 2))
    for number in range(100):
        EventLog().info("event", number=number, filler="x" * 100)
    base = tmp_path / "logs" / f"loader-{os.getpid()}.log"
    files = sorted(path.name for path in base.parent.iterdir())
    assert files == [base.name, f"{base.name}.1", f"{base.name}.2"]
    kept = [base.with_name(f"{base.name}.2"), base.with_name(f"{base.name}.1"), base]
    assert all(path.stat().st_size <= 4096 for path in kept)
    written = "".join(path.read_text() for path in kept)
    assert output.getvalue().endswith(written)
    assert written.count("\n") > 30


def test_a_log_file_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(ConfigError) as caught:
        rotating_file("loader", str(blocker / "etl.log"), 4096, 2)
    assert str(caught.value) == (
        f"pipeline.log_file: names {blocker}/etl.log, which cannot be written: File exists"
    )
    with pytest.raises(ConfigError, match="Is a directory"):
        rotating_file("loader", str(tmp_path), 4096, 2)
