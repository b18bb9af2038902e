"""What the demo shows and reports."""

from __future__ import annotations

import io
import re
import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer.main
from rich.console import Console

from common.state.ledger import Account, Audit, Depth
from common.state.windows import FeedStatus
from devtools import PROJECT_ROOT
from devtools.demo.__main__ import app
from devtools.demo.report import DemoReport
from devtools.demo.view import Snapshot, View, numbers_table, plain_line, snapshot
from etlctl.command_line import run
from services.verifier.outcome import Outcome, QueryResult


def audit(account: Account, raw_samples: int = 0) -> Audit:
    streams = {"raw": Depth(samples=raw_samples), "points": Depth()}
    return Audit(10_000, {"q@hot": account}, streams, 0, 0, {}, False)


def feed(**changes: Any) -> FeedStatus:
    fields: dict[str, Any] = {
        "query": "q",
        "tier": "hot",
        "fingerprint": "f",
        "origin_ms": 1_000,
        "head_ms": 9_000,
        "backlog": [],
        "open": [],
        "unsettled": [],
        "attempts": 0,
        "planned_ms": 0,
        "gaps": 0,
    }
    return FeedStatus(**(fields | changes))


BALANCED = Account(extracted=10, loaded=7, dropped={"nan": 2}, dead_lettered=1)
EQUAL = QueryResult("q", source=9, dropped=Counter(nan=2), expected=7, found=7, equal=7)


def report(account: Account = BALANCED, result: QueryResult = EQUAL, **changes: Any) -> DemoReport:
    fields: dict[str, Any] = {
        "seconds": 60.04,
        "setup_seconds": 7.25,
        "outcomes": {"hot": Outcome(1_000, 61_000, [result])},
        "audit": audit(account),
        "processes": {"extractor": 1, "transformer": 2},
    }
    return DemoReport(**(fields | changes))


def test_the_figures_have_the_agreed_names() -> None:
    assert report().as_json() == {
        "seconds": 60.0,
        "setup_seconds": 7.2,
        "source_samples": 9,
        "sink_points": 7,
        "mismatches": 0,
        "dropped": {"nan": 2},
        "dead_letters": 1,
        "ledger_imbalance": 0,
        "services": {"extractor": 1, "transformer": 2},
    }


def test_success_names_what_was_compared() -> None:
    summary = report().summary()
    assert report().problems == []
    assert summary.startswith("PROVEN")
    assert "9 samples" in summary
    assert "each of the other 7 was found" in summary
    assert "2 × transformer" in summary


@pytest.mark.parametrize(
    ("account", "result", "problem"),
    [
        (BALANCED, QueryResult("q"), "nothing to compare"),
        (BALANCED, QueryResult("q", expected=9, found=9, reaches_beyond=True), "not loaded whole"),
        (BALANCED, QueryResult("q", source=9, expected=9, found=8, missing=1), "differ: 1 point"),
        (
            BALANCED,
            QueryResult("q", source=9, expected=9, found=9, different=2),
            "differ: 2 points",
        ),
        (BALANCED, QueryResult("q", source=9, expected=9, found=10, extra=1), "differ: 1 point"),
        (Account(extracted=11, loaded=10), EQUAL, "1 samples are unaccounted for"),
        (Account(extracted=9, loaded=10), EQUAL, "1 samples are unaccounted for"),
        (Account(extracted=11, loaded=10, in_flight=1), EQUAL, "still in flight"),
    ],
)
def test_every_way_of_not_being_proven_is_a_problem(
    account: Account, result: QueryResult, problem: str
) -> None:
    made = report(account, result)
    (sentence,) = made.problems
    assert problem in sentence
    assert made.summary().startswith("NOT PROVEN")
    assert sentence in made.summary()


def test_rollups_are_proven_beside_the_samples() -> None:
    rollup = QueryResult("q", source=9, expected=3, found=3, equal=3)
    nothing = QueryResult("late")
    hot = Outcome(1_000, 61_000, [EQUAL])
    accounts = {"q@hot": BALANCED, "q@warm": Account(extracted=9, loaded=3, dropped={"nan": 6})}

    def made(*results: QueryResult) -> DemoReport:
        outcomes = {"hot": hot, "warm": Outcome(1_000, 61_000, list(results))}
        return report(outcomes=outcomes, audit=replace(audit(BALANCED), accounts=accounts))

    # One that begins late has no window of it yet.
    assert made(rollup, nothing).problems == []
    assert "The tier warm holds" in made(rollup, nothing).summary()
    assert made(rollup).as_json()["sink_points"] == 7
    assert made(rollup).as_json()["dropped"] == {"nan": 2}

    differs = made(QueryResult("q", source=9, expected=3, found=2, missing=1))
    assert differs.problems == ["warm: Source and sink differ: 1 point without a reason."]
    assert differs.as_json()["mismatches"] == 1


def test_an_explained_difference_is_still_a_mismatch() -> None:
    result = QueryResult("q", source=9, expected=9, found=8, missing=1)
    result.explained.missing["gap"] = 1
    assert result.unexplained == 0
    assert report(result=result).as_json()["mismatches"] == 1
    assert report(result=result).problems


def feeds(*found: FeedStatus) -> Mapping[str, FeedStatus]:
    return {f"{n}@hot": one for n, one in enumerate(found)}


def test_a_snapshot_follows_the_slowest_feed() -> None:
    account = Account(extracted=100, loaded=50, dropped={"nan": 5}, in_flight=45)
    now = snapshot(audit(account, raw_samples=30), feeds(feed(), feed(open=[(4_000, 6_000)])), 3.0)
    assert (now.extracted, now.transformed, now.loaded, now.in_flight) == (100, 70, 50, 45)
    assert now.lag_seconds == 6.0


def test_a_rollup_is_late_by_nature() -> None:
    late = feed(tier="warm", open=[(1_000, 6_000)])
    assert snapshot(audit(Account()), feeds(feed(), late), 3.0).lag_seconds == 1.0


def test_a_pipeline_that_planned_nothing_has_no_lag() -> None:
    now = snapshot(audit(Account()), feeds(), 0.0)
    assert now.lag_seconds is None
    assert plain_line(now).endswith("lag –")


def numbers(elapsed_seconds: float) -> Snapshot:
    return Snapshot(elapsed_seconds, 1_234, 1_000, 900, 100, {"nan": 7, "inf": 1}, 0, 0, 2.5)


def test_without_a_terminal_a_line_comes_now_and_then() -> None:
    out = io.StringIO()
    view = View(Console(file=out, force_terminal=False, width=200))
    with view.steps("Setting up") as progress:
        progress("start redis", None)
        progress("start redis", 0.4)
    with view.numbers("Running") as show:
        for elapsed_seconds in range(12):
            show(numbers(elapsed_seconds))
    lines = out.getvalue().splitlines()
    assert lines[0] == "Setting up"
    assert lines[1].split() == ["start", "redis", "0.4", "s"]
    assert lines[2] == "Running"
    assert [line.split()[0] for line in lines[3:]] == ["0", "5", "10"]
    assert "extracted 1,234" in lines[3]
    assert "dropped inf 1, nan 7" in lines[3]


def test_a_terminal_shows_a_table() -> None:
    out = io.StringIO()
    view = View(Console(file=out, force_terminal=True, width=120))
    with view.steps("Setting up") as progress:
        progress("start redis", None)
        progress("start influxdb", None)
        progress("start redis", 0.4)
    with view.numbers("Running") as show:
        show(numbers(1.0))
    assert "start redis" in out.getvalue()
    assert "1,234" in out.getvalue()


def test_the_table_holds_every_number() -> None:
    out = io.StringIO()
    Console(file=out, width=120).print(numbers_table(numbers(1.0)))
    for text in ("1,234", "1,000", "900", "100", "nan 7", "inf 1", "2.5 s"):
        assert text in out.getvalue()


@pytest.mark.parametrize("seconds", ["-1", "soon"])
def test_a_wrong_command_line_ends_with_2(capsys: pytest.CaptureFixture[str], seconds: str) -> None:
    with pytest.raises(SystemExit) as caught:
        run(app, "demo", ["--seconds", seconds])
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert "Usage: demo" in said.err
    assert "Traceback" not in said.out + said.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_either_signal_interrupts_a_run(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    """That nothing of the servers is left behind then is tested with one of them, on real ones."""

    class Interrupted:
        def __init__(self, *_: object, **__: object) -> None: ...

        def run(self) -> None:
            signal.raise_signal(number)

    monkeypatch.setattr("devtools.demo.__main__.Demo", Interrupted)
    before = signal.getsignal(number)
    report = tmp_path / "demo.json"
    with pytest.raises(SystemExit) as caught:
        run(app, "demo", ["--seconds", "600", "--report", str(report)])
    assert caught.value.code == 130
    assert "Interrupted" in capsys.readouterr().out
    assert not report.exists()
    assert signal.getsignal(number) == before


def test_every_option_and_figure_is_documented() -> None:
    page = (PROJECT_ROOT / "docs" / "demo.md").read_text(encoding="utf-8")
    options = {one.opts[0] for one in typer.main.get_command(app).params} - {"--help"}
    assert set(re.findall(r"^\| `(--[a-z-]+) [A-Z]+` \|", page, re.MULTILINE)) == options
    for figure in report().as_json():
        assert f"`{figure}`" in page
