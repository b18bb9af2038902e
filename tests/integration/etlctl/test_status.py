"""``etlctl status`` on a real Redis."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from common.state.keys import POINTS, RAW, Keys
from common.state.proven import Proven
from common.state.status.findings import SERVICES
from common.state.stream import RedisStream, SettleResult
from common.state.verdict import DeadLetter, Output, Settle
from common.state.windows import Feed, WindowSet
from common.state.workers import Workers
from devtools.servers.redis_server import RedisServer
from etlctl.__main__ import main
from etlctl.times import Clock

Capture = pytest.CaptureFixture[str]

FEED = Feed("raw", "hot", "select", "f1")


def run(
    capsys: Capture, tmp_path: Path, pipeline: dict[str, Any], *options: str
) -> tuple[int, str, str]:
    file = tmp_path / "etl.yaml"
    document = {
        "extract": {"prometheus_url": "http://127.0.0.1:9"},
        "load": {"influxdb": {"url": "http://127.0.0.1:9", "org": "o", "bucket": "b"}},
        "pipeline": pipeline,
    }
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        main(["status", "--config", str(file), *options])
    said = capsys.readouterr()
    code = caught.value.code
    return (code if isinstance(code, int) else 0), said.out, said.err


@pytest.fixture
def pipeline(
    redis_client: redis.Redis, redis_server: RedisServer, redis_namespace: str
) -> dict[str, Any]:
    """A feed with 100 samples: 60 waiting as points, 10 dropped, 30 waiting as raw samples.

    Every service runs and is ready.
    """
    keys = Keys(redis_namespace)
    for service in SERVICES:
        Workers(redis_client, keys).report(f"{service}-1", service, True, {})
    windows = WindowSet(redis_client, keys)
    windows.plan(FEED, 0, 120_000)
    for samples in (70, 30):
        window = windows.lease(FEED, "live", 10**9, 60_000)
        assert window is not None
        assert windows.commit(FEED, window, [windows.stage(b"x", samples, 60)]) == "committed"
    stream = RedisStream(redis_client, keys, RAW, "c", outbound=POINTS)
    stream.ensure()
    (entry,) = stream.read(1, 1.0)
    stream.settle(entry, Settle(outputs=[Output(b"y", 60)], drops={"nan": 10}), "transformer")
    return {"redis_url": redis_server.plain_url, "redis_namespace": redis_namespace}


def test_the_ledger_as_json(pipeline: dict[str, Any], tmp_path: Path, capsys: Capture) -> None:
    code, out, _ = run(capsys, tmp_path, pipeline, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["imbalance_samples"] == 0
    account = document["accounts"]["raw@hot"]
    assert account["extracted"] == 100
    assert account["dropped"] == {"nan": 10}
    assert account["in_flight"] == 90
    assert document["streams"]["raw"]["samples"] == 30
    assert document["streams"]["points"]["samples"] == 60
    assert document["feeds"]["raw@hot"]["watermark_ms"] == 120_000
    assert document["feeds"]["raw@hot"]["loaded_watermark_ms"] == 0


def test_the_ledger_as_tables(pipeline: dict[str, Any], tmp_path: Path, capsys: Capture) -> None:
    code, out, _ = run(capsys, tmp_path, pipeline)
    assert code == 0
    assert out.startswith("All is well: every extracted sample is accounted for")
    assert "raw@hot" in out
    assert "nan 10" in out
    assert "Every extracted sample is accounted for." in out


def test_a_loss_is_said(
    pipeline: dict[str, Any], redis_client: redis.Redis, tmp_path: Path, capsys: Capture
) -> None:
    stream = Keys(pipeline["redis_namespace"]).stream(POINTS)
    entries: Any = redis_client.xrange(stream)
    ((id_, _),) = entries
    redis_client.xdel(stream, id_)
    code, out, _ = run(capsys, tmp_path, pipeline)
    assert code == 1
    assert out.startswith("Not all is well: samples are not accounted for.\n")
    assert "60 samples are not accounted for" in out


@pytest.mark.parametrize(
    ("cap", "said"), [(4, ""), (3, "More than half of the dead letters"), (2, "are at their cap")]
)
def test_the_cap_of_the_dead_letters_is_told_before_it_is_reached(
    pipeline: dict[str, Any],
    redis_client: redis.Redis,
    tmp_path: Path,
    capsys: Capture,
    cap: int,
    said: str,
) -> None:
    stream = RedisStream(redis_client, Keys(pipeline["redis_namespace"]), POINTS, "c")
    stream.ensure()
    (entry,) = stream.read(1, 1.0)
    letters = [DeadLetter("rejected", "x", b"m v=1 1", 30)] * 2
    assert stream.settle(entry, Settle(dead=letters), "loader") is SettleResult.OK

    code, out, _ = run(capsys, tmp_path, pipeline | {"dead_letters": {"max_entries": cap}})

    assert code == (cap == 2)
    assert f"2 of {cap}" in out
    assert out.startswith("Not all is well: dead letters are at their cap.") == (cap == 2)
    assert said in " ".join(out.split())
    assert ("etlctl dead-letters" in " ".join(out.split())) == bool(said)


def test_an_empty_redis_is_a_pipeline_that_does_not_run(
    redis_server: RedisServer, redis_client: redis.Redis, tmp_path: Path, capsys: Capture
) -> None:
    code, out, _ = run(capsys, tmp_path, {"redis_url": redis_server.plain_url})
    assert code == 1
    assert out.startswith("Not all is well: no extractor runs, no transformer runs, no loader runs")
    assert "Ledger" in out


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        ({"dependency": "the sink refuses us: 401"}, "dependency: the sink refuses us: 401"),
        ({"sink_read": "the token may not [read]"}, "sink_read: the token may not [read]"),
    ],
)
def test_a_worker_that_is_not_ready_is_in_the_first_line(
    pipeline: dict[str, Any],
    redis_client: redis.Redis,
    tmp_path: Path,
    capsys: Capture,
    failing: dict[str, str],
    said: str,
) -> None:
    workers = Workers(redis_client, Keys(pipeline["redis_namespace"]))
    workers.report("loader-1", "loader", False, failing)
    code, out, _ = run(capsys, tmp_path, pipeline)
    assert code == 1
    assert out.startswith(
        f"Not all is well: loader not ready.\n* loader (loader-1) is not ready: {said}"
    )
    code, out, _ = run(capsys, tmp_path, pipeline, "--json")
    document = json.loads(out)
    assert code == 1
    assert not document["well"]
    assert [one["kind"] for one in document["findings"]] == ["not_ready"]
    assert document["workers"][1]["failing"] == failing


def test_a_configuration_that_workers_refuse_is_said(
    pipeline: dict[str, Any], redis_client: redis.Redis, tmp_path: Path, capsys: Capture
) -> None:
    workers = Workers(redis_client, Keys(pipeline["redis_namespace"]))
    why = "etl.yaml:3: transfrom: is an unknown key\netl.yaml:4: load: is missing"
    for name in ("loader-1", "loader-2"):
        workers.report(name, "loader", True, {}, config="abc", refused=why)
    code, out, _ = run(capsys, tmp_path, pipeline)
    assert code == 1
    assert out.startswith(
        "Not all is well: a configuration is refused.\n* loader (2 of them) refuses the"
        " configuration file as it is now, and goes on with what it had: etl.yaml:3: transfrom: is"
        " an unknown key; etl.yaml:4: load: is missing\n"
    )
    _, out, _ = run(capsys, tmp_path, pipeline, "--json")
    document = json.loads(out)
    assert [one["kind"] for one in document["findings"]] == ["config_refused"]
    told = [one for one in document["workers"] if one["service"] == "loader"]
    assert [(one["config"], one["refused"]) for one in told] == [("abc", why)] * 2


def test_a_worker_that_has_gone_is_missed(
    pipeline: dict[str, Any], redis_client: redis.Redis, tmp_path: Path, capsys: Capture
) -> None:
    workers = Workers(redis_client, Keys(pipeline["redis_namespace"]))
    workers.forget("transformer-1")
    redis_client.hset(Keys(pipeline["redis_namespace"]).workers, "transformer-2", "no report")
    code, out, _ = run(capsys, tmp_path, pipeline)
    assert code == 1
    assert out.startswith("Not all is well: no transformer runs.")


def test_windows_that_wait_are_said(
    pipeline: dict[str, Any],
    redis_client: redis.Redis,
    redis_namespace: str,
    tmp_path: Path,
    capsys: Capture,
) -> None:
    windows = WindowSet(redis_client, Keys(redis_namespace))
    windows.plan(FEED, 0, 180_000)
    window = windows.lease(FEED, "live", 10**9, 60_000)
    assert window is not None
    assert windows.defer(FEED, window, 1, 60)
    code, out, _ = run(capsys, tmp_path, pipeline)
    assert code == 1
    assert out.startswith("Not all is well: windows wait.")
    assert "raw@hot cannot be extracted: 60 s of it wait. Failures in a row: 1." in out


def test_a_query_that_matches_nothing_for_long_is_said(
    pipeline: dict[str, Any],
    redis_client: redis.Redis,
    redis_namespace: str,
    tmp_path: Path,
    capsys: Capture,
) -> None:
    windows = WindowSet(redis_client, Keys(redis_namespace))
    windows.plan(FEED, 0, 120_000 + 2 * 3_600_000)
    while window := windows.lease(FEED, "live", 10**9, 3_600_000):
        assert windows.commit(FEED, window, [], matched=False) == "committed"
    code, out, _ = run(capsys, tmp_path, pipeline)
    assert code == 1
    assert out.startswith(
        "Not all is well: queries match nothing.\n* raw@hot: the query matches no series.\n"
    )


def test_a_query_that_is_behind_is_said(
    pipeline: dict[str, Any],
    redis_client: redis.Redis,
    redis_namespace: str,
    tmp_path: Path,
    capsys: Capture,
) -> None:
    """Before: `status` said that all is well with a feed that was hours late."""
    windows = WindowSet(redis_client, Keys(redis_namespace))
    windows.plan(FEED, 0, 120_000, lag_limit_ms=180_000)
    code, out, _ = run(capsys, tmp_path, pipeline)
    assert code == 1
    assert out.startswith("Not all is well: queries are behind.\n* raw@hot is behind: what is")
    code, out, _ = run(capsys, tmp_path, pipeline, "--json")
    assert [one["kind"] for one in json.loads(out)["findings"]] == ["behind"]
    # As much as Redis' clock says, and more.
    windows.plan(FEED, 0, 120_000, lag_limit_ms=10**13)
    assert run(capsys, tmp_path, pipeline)[0] == 0


def test_points_that_differ_are_said_and_up_to_where_all_was_compared(
    pipeline: dict[str, Any],
    redis_client: redis.Redis,
    redis_namespace: str,
    tmp_path: Path,
    capsys: Capture,
) -> None:
    """Before: `status` said that all is well while `EtlVerifyDiffers` fired."""
    keys = Keys(redis_namespace)
    windows = WindowSet(redis_client, keys)
    windows.plan(FEED, 0, 180_000)
    window = windows.lease(FEED, "live", 10**9, 60_000)
    assert window is not None
    assert windows.commit(FEED, window, []) == "committed"
    windows.set_reconciled(FEED)
    proven = Proven(120_000).with_range(120_000, 180_000, 3, at_ms=200_000)
    redis_client.hset(keys.verified, "raw@hot", proven.encode())

    code, out, _ = run(capsys, tmp_path, pipeline, "--json")

    assert code == 1
    document = json.loads(out)
    (finding,) = document["findings"]
    assert finding["kind"] == "differs"
    assert finding["detail"].startswith("raw@hot: 3 points of the sink differed")
    assert document["feeds"]["raw@hot"]["proven_up_to_ms"] is not None


def test_it_is_shown_again_until_ctrl_c(
    pipeline: dict[str, Any],
    redis_client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: Capture,
) -> None:
    workers = Workers(redis_client, Keys(pipeline["redis_namespace"]))
    steps = iter([lambda: workers.report("loader-1", "loader", False, {"sink": "refused"})])

    def sleep(seconds: float) -> None:
        assert seconds == 0.5
        step = next(steps, None)
        if step is None:
            raise KeyboardInterrupt
        step()

    monkeypatch.setattr("etlctl.watching.Clock", lambda: Clock(sleep=sleep))
    code, out, err = run(capsys, tmp_path, pipeline, "--watch", "0.5")
    assert code == 1
    assert out.startswith("All is well")
    assert "\nNot all is well: loader not ready.\n" in out
    assert err == ""


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_a_pause_that_is_none_is_refused(
    pipeline: dict[str, Any], tmp_path: Path, capsys: Capture, seconds: str
) -> None:
    code, out, err = run(capsys, tmp_path, pipeline, "--watch", seconds, "--json")
    assert code == 2
    assert "--watch" in err
    assert json.loads(out)["exit_code"] == 2


def test_redis_away_cannot_tell(tmp_path: Path, capsys: Capture) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code, out, err = run(capsys, tmp_path, {"redis_url": f"redis://127.0.0.1:{port}/0"})
    assert code == 2
    assert out == ""
    assert err.startswith("etlctl: Redis cannot be reached")
    assert len(err.splitlines()) == 1


def test_gaps_are_shown_with_their_bounds_also_of_closed_feeds(
    pipeline: dict[str, Any],
    redis_client: redis.Redis,
    redis_namespace: str,
    capsys: Capture,
    tmp_path: Path,
) -> None:
    windows = WindowSet(redis_client, Keys(redis_namespace))
    windows.plan(FEED, 0, 180_000)
    window = windows.lease(FEED, "live", 10**9, 60_000)
    assert window is not None
    windows.declare_gap(FEED, window, 150_000, "older than what Prometheus keeps")

    _, shown, _ = run(capsys, tmp_path, pipeline)
    windows.close("raw@hot", 0, "query removed")
    code, out, _ = run(capsys, tmp_path, pipeline, "--json")

    assert "1970-01-01T00:02:30Z" in shown
    assert code == 0
    assert [(gap["start_ms"], gap["end_ms"]) for gap in json.loads(out)["gaps"]["raw@hot"]] == [
        (120_000, 150_000),
        (150_000, 180_000),
    ]
