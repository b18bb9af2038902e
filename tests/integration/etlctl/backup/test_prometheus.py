"""A snapshot of a real Prometheus, and another one that has it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.config import ExtractSettings
from common.errors import EtlError, SourceError
from devtools.servers.ports import free_port
from devtools.servers.prometheus_server import PrometheusServer
from etlctl.backup.parts import Skipped
from etlctl.backup.prometheus import PrometheusHistory

ADMIN = ("--web.enable-admin-api",)
HISTORY = "# TYPE x gauge\nx 1 1700000000\nx 2 1700000060\n# EOF\n"
FLAGS: dict[str, Any] = {"flags": ADMIN, "retention": "100y"}


def nothing(_: int) -> None:
    pass


@pytest.fixture
def saved_in(tmp_path: Path) -> Path:
    (folder := tmp_path / "backup").mkdir()
    return folder


def history(server: PrometheusServer, data_dir: Path | None) -> PrometheusHistory:
    settings = ExtractSettings(
        prometheus_url=server.url,
        queries=[{"name": "x", "select": "x"}],
    )
    return PrometheusHistory(settings, data_dir)


def test_history_comes_back(
    make_prometheus: Callable[..., PrometheusServer], saved_in: Path
) -> None:
    server = make_prometheus(backfill=HISTORY, **FLAGS)
    saved = history(server, server.data_dir).save(saved_in, nothing)
    assert len(saved.known["blocks"]) == len(list(saved_in.iterdir())) > 0
    assert list((server.data_dir / "snapshots").iterdir()) == []

    server.stop()
    with pytest.raises(EtlError, match=r"is not empty: it has .*; stop Prometheus"):
        history(server, server.data_dir).check(saved_in, saved.known)
    server.forget_data()
    with pytest.raises(EtlError, match="there is no such folder"):
        history(server, server.data_dir).check(saved_in, saved.known)
    server.data_dir.mkdir()
    restoring = history(server, server.data_dir)
    restoring.check(saved_in, saved.known)
    restoring.restore(saved_in, saved.known, nothing)
    server.start()
    (found,) = server.query("x[2m]", time=1700000060)
    assert [value for _, value in found["values"]] == ["1", "2"]


def test_a_snapshot_that_cannot_be_copied_is_left_where_it_is(
    make_prometheus: Callable[..., PrometheusServer], saved_in: Path
) -> None:
    server = make_prometheus(backfill=HISTORY, **FLAGS)
    saved = history(server, None).save(saved_in, nothing)
    (snapshot,) = (server.data_dir / "snapshots").iterdir()
    assert f"snapshots/{snapshot.name}" in saved.said
    with pytest.raises(Skipped, match=f"left at snapshots/{snapshot.name}"):
        history(server, saved_in).check(saved_in, saved.known)
    with pytest.raises(EtlError, match="it is not the data directory of the Prometheus at"):
        history(server, saved_in).save(saved_in, nothing)


def test_without_the_admin_api_it_is_skipped_unless_it_was_asked_for(
    prometheus_server: PrometheusServer, saved_in: Path
) -> None:
    with pytest.raises(Skipped, match=r"admin APIs disabled \(it needs --web\.enable-admin-api\)"):
        history(prometheus_server, None).save(saved_in, nothing)
    with pytest.raises(SourceError, match="admin APIs disabled"):
        history(prometheus_server, saved_in).save(saved_in, nothing)


def test_a_prometheus_that_is_away_is_one_sentence(saved_in: Path) -> None:
    settings = ExtractSettings(
        prometheus_url=f"http://127.0.0.1:{free_port()}", queries=[{"name": "x", "select": "x"}]
    )
    with pytest.raises(SourceError, match=r"Prometheus at .*refused"):
        PrometheusHistory(settings, None).save(saved_in, nothing)


def test_each_replica_and_source_makes_a_snapshot_where_it_runs(
    make_prometheus: Callable[..., PrometheusServer], saved_in: Path
) -> None:
    server = make_prometheus(backfill=HISTORY, **FLAGS)
    away = f"http://127.0.0.1:{free_port()}"
    queries = [{"name": "x", "select": "x"}]
    pair = ExtractSettings.model_validate({"replicas": [server.url, away], "queries": queries})
    several = ExtractSettings.model_validate(
        {
            "sources": [
                {"name": "a", "url": server.url, "labels": {"site": "a"}},
                {"name": "b", "url": away, "labels": {"site": "b"}},
            ],
            "queries": queries,
        }
    )
    for number, settings in enumerate((pair, several), 1):
        saved = PrometheusHistory(settings, None).save(saved_in, nothing)
        made = {one.name for one in (server.data_dir / "snapshots").iterdir()}
        assert len(made) == number
        assert any(f"snapshots/{name} in the data directory" in saved.said for name in made)
        assert f"not saved: {away}" in saved.said
        assert server.url in saved.known["left_at"]
        with pytest.raises(EtlError, match="is one directory, and there are 2 Prometheus"):
            PrometheusHistory(settings, saved_in).save(saved_in, nothing)
