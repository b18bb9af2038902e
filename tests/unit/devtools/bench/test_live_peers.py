"""Live, beside vmagent: what runs, what is counted, and how it is shown."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from common.errors import StackError
from devtools.bench import markdown, report
from devtools.bench.live_world import JOB_NAMES, Scrape
from devtools.bench.peers.live import CONTENDERS, missing_scrapes, phase_seconds, stamps_of
from devtools.bench.peers.vmagent import VmagentServer
from devtools.bench.statistics import Spread
from devtools.servers.binaries import Program, Toolbox
from tests.support.answering_server import AnsweringServer, reply


class Found(Toolbox):
    """Every program is there."""

    def program(self, name: str) -> Program:
        return Program(name, Path("/opt") / name)


def test_vmagent_scrapes_the_same_jobs_at_the_same_pace(tmp_path: Path) -> None:
    agent = VmagentServer(
        Found(tmp_path),
        tmp_path,
        target="target:80",
        sink_url="http://sink",
        scrape=Scrape(interval_seconds=2.5, timeout_seconds=2.0),
    )
    agent.prepare()
    written = yaml.safe_load((tmp_path / "scrape.yml").read_text(encoding="utf-8"))
    assert written["global"] == {"scrape_interval": "2.5s", "scrape_timeout": "2s"}
    assert [job["job_name"] for job in written["scrape_configs"]] == list(JOB_NAMES)
    assert "-remoteWrite.url=http://sink/api/v1/write" in agent.command()


def test_what_the_sink_shows_is_told_by_job_and_time() -> None:
    body = "\n".join(
        json.dumps(
            {
                "metric": {"__name__": "bench_live_value", "job": job, "number": "0"},
                "timestamps": [2_000, 1_000],
                "values": [2, 1],
            }
        )
        for job in ("a", "b")
    )
    with AnsweringServer(reply(body.encode())) as sink:
        found = stamps_of(sink.url, 0.5, "_value")
        (request,) = sink.requests
    assert found == {("a", 1_000), ("a", 2_000), ("b", 1_000), ("b", 2_000)}
    assert request.params == {"match[]": 'bench_live_value{number="0"}', "start": "0.500"}


def test_a_sink_that_does_not_answer_is_an_error() -> None:
    with (
        AnsweringServer(reply(b"too many requests", 429)) as sink,
        pytest.raises(StackError, match="responds 429: too many requests"),
    ):
        stamps_of(sink.url, 0.0)


def test_scrapes_between_the_first_and_the_last_are_missed() -> None:
    on_time = {("a", 1_000), ("a", 6_003), ("a", 10_998), ("b", 500)}
    assert missing_scrapes(on_time, 5.0) == 0
    assert missing_scrapes(on_time | {("a", 26_000)}, 5.0) == 2
    assert missing_scrapes(set(), 5.0) == 0


@pytest.mark.parametrize(("seconds", "runs", "phase"), [(300, 3, 45), (120, 3, 15), (1, 3, 15)])
def test_a_phase_has_whole_windows(seconds: float, runs: int, phase: float) -> None:
    assert phase_seconds(seconds, runs) == phase


def section() -> dict[str, Any]:
    def figures(name: str) -> dict[str, Any]:
        found = {
            "cpu.tool": 2.0,
            "cpu.sink": 0.5,
            "cpu.all": 3.25,
            "memory.tool": 64.0 * (1 << 20),
            "memory.sink": 32.0 * (1 << 20),
            "latency_p50_seconds": 1.25,
            "latency_p99_seconds": 2.5,
            "samples_timed": 60.0,
            "load_average": 0.5,
        }
        if name != "vmagent":
            found |= {"cpu.source": 0.75, "memory.source": 128.0 * (1 << 20)}
        return {key: Spread.of([value]).as_json() for key, value in found.items()}

    return {
        "series": 20_000,
        "interval_seconds": 5.0,
        "runs": 1,
        "began": "2030-01-02T03:04:05+00:00",
        "load_average": 0.25,
        "contenders": {
            name: {
                "title": one.title,
                "proves": one.proves,
                "after_a_stop": one.after_a_stop,
                "sink_away": one.sink_away,
                "scrapes": 1_200,
                "missing_scrapes": 0,
                "figures": figures(name),
            }
            for name, one in CONTENDERS.items()
        },
    }


def test_terminal_and_docs_show_them_side_by_side() -> None:
    machine = {"processor": "", "cores": 2, "memory_bytes": 0, "system": "", "python": ""}
    document = {"machine": machine, "sections": {"live-peers": section()}}
    page = "\n".join(markdown.figures(document))
    assert "### Live peers: 20,000 series every 5 s into VictoriaMetrics" in page
    assert "|  | this project | with push | vmagent |" in page
    assert "| CPU-s per million, Prometheus | 0.75 | 0.75 | none |" in page
    assert "| scrapes in the sink | 1,200 | 1,200 | 1,200 |" in page
    console = Console(width=200, file=io.StringIO(), record=True)
    for table in report.tables(document):
        console.print(table)
    assert "a count of what it sent" in console.export_text()
