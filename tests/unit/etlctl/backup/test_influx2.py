"""Buckets of an InfluxDB 2 go into a backup without its tokens, and into an empty server again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from common.config.load import InfluxSettings
from common.errors import SinkError
from common.sink.http_session import SinkSession
from etlctl.backup.influx import InfluxDb
from etlctl.backup.influx2 import Influx2
from tests.doubles.influxdb2_backup import SECRET, TOKEN, Store, serving


def nothing(_: int) -> None:
    pass


def archive(content: bytes = b"") -> bytes:
    """Whole blocks of a tar, of which two of zeros are the end."""
    return content + bytes(-len(content) % 512) + bytes(1024)


@contextmanager
def session(store: Store, token: str = TOKEN) -> Iterator[SinkSession]:
    with serving(store) as url:
        settings = InfluxSettings(url=url, org=store.org, bucket="hot")
        with closing(
            SinkSession(settings, connections=1, environ={}, token=token, token_from="FILE")
        ) as made:
            yield made


@contextmanager
def influx(
    store: Store, *buckets: str, token: str = TOKEN, org: str = "monitoring"
) -> Iterator[Influx2]:
    with session(store, token) as made:
        yield Influx2(made, org, buckets or ("hot", "cold", "hot"))


@pytest.fixture
def full() -> Store:
    store = Store()
    store.add_bucket("hot", {1: archive(b"tsm" * 700_000), 2: archive()})
    store.add_bucket("cold", {3: archive(b"cold")})
    store.add_bucket("foreign", {4: b"foreign"})
    return store


@pytest.fixture
def saved(full: Store, tmp_path: Path) -> Path:
    moved: list[int] = []
    with influx(full) as part:
        assert part.save(tmp_path, moved.append).said == "2 buckets, 3 shards"
    assert sum(moved) == sum(len(full.shards[shard]) for shard in (1, 2, 3))
    return tmp_path


def test_the_pipelines_buckets_come_back_with_new_ids(full: Store, saved: Path) -> None:
    new = Store()
    new.add_bucket("hot", {})  # as `sink init` made it
    new.add_bucket("other", {9: b"somebody's"})
    with influx(new) as part:
        part.check(saved, {})
        assert part.restore(saved, {}, nothing).startswith("2 buckets; run `etlctl sink init`")
    assert new.data("hot") == full.data("hot")
    assert new.data("cold") == full.data("cold")
    assert sorted(one["bucketName"] for one in new.buckets) == ["cold", "hot", "other"]


def test_no_token_is_in_the_backup(saved: Path) -> None:
    content = b"".join(file.read_bytes() for file in saved.iterdir())
    assert SECRET not in content
    assert TOKEN.encode() not in content


def test_a_bucket_that_holds_something_is_left_alone(full: Store, saved: Path) -> None:
    before = full.data("hot")
    with (
        influx(full) as part,
        pytest.raises(SinkError, match=r"bucket hot .* is not empty: delete"),
    ):
        part.check(saved, {})
    assert full.data("hot") == before


@pytest.mark.parametrize("shard", [1, 3])
def test_a_bucket_that_cannot_be_restored_whole_is_removed_again(saved: Path, shard: int) -> None:
    new = Store()
    # hot has 999 (deleted), 1 and 2: they get 101 to 103, the bucket 104, and cold's 105 and 106.
    new.fail = {f"POST /api/v2/restore/shards/{102 if shard == 1 else 106}": 500}
    with (
        influx(new) as part,
        pytest.raises(SinkError, match=r"to restore shard .* with 500 .*fail"),
    ):
        part.restore(saved, {}, nothing)
    assert [one["bucketName"] for one in new.buckets] == ([] if shard == 1 else ["hot"])


def test_a_shard_that_retention_took_meanwhile_is_left_out(full: Store, tmp_path: Path) -> None:
    del full.shards[2]
    with influx(full) as part:
        assert part.save(tmp_path, nothing).said == "2 buckets, 2 shards"
    new = Store()
    with influx(new) as part:
        part.restore(tmp_path, {}, nothing)
    assert new.data("hot") == [full.shards[1]]


@pytest.mark.parametrize(
    "sent",
    [
        archive(b"tsm") + b'{"code":"internal error","message":"it failed"}',
        b"x" * 700 + b'{"code":"internal error","message":"it failed"}',
        b"x" * 512,
        b"",
    ],
)
def test_a_shard_that_influxd_could_not_read_whole_is_no_backup(
    full: Store, tmp_path: Path, sent: bytes
) -> None:
    full.shards[1] = sent
    reason = "it failed" if b"failed" in sent else ""
    with (
        influx(full) as part,
        pytest.raises(SinkError, match=rf"shard 1 as an archive .* without its end: .*{reason}"),
    ):
        part.save(tmp_path, nothing)


def test_what_is_missing_or_refused_is_one_sentence(full: Store, tmp_path: Path) -> None:
    with influx(full, "none") as part, pytest.raises(SinkError, match="has no bucket none"):
        part.save(tmp_path, nothing)
    with (
        influx(full, token="wrong") as part,
        pytest.raises(SinkError, match=r"for its buckets with 401 .*unauthorized access.*\(FILE\)"),
    ):
        part.save(tmp_path, nothing)
    full.fail = {"GET /api/v2/backup/metadata": 404}
    with influx(full) as part, pytest.raises(SinkError, match="for its buckets with 404"):
        part.save(tmp_path, nothing)
    with (
        influx(full, org="other") as part,
        pytest.raises(SinkError, match="has no organization other: `etlctl sink init`"),
    ):
        part.check(tmp_path, {})


def test_a_server_that_is_away_is_one_sentence(tmp_path: Path) -> None:
    with influx(Store()) as part:
        away = part
    with pytest.raises(SinkError, match=r"a request for its buckets failed: .*refused"):
        away.save(tmp_path, nothing)


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("3.5.0", "InfluxDB 3 at .* has no way to be saved over the network"),
        ("", "answers with 204 and no version"),
        ("1.8.10", "the backup is of InfluxDB 2.x, and InfluxDB 1.x is at"),
    ],
)
def test_another_version_is_refused_by_name(version: str, says: str, tmp_path: Path) -> None:
    with session(Store(version=version)) as made:
        part = Influx2(made, "monitoring", ())
        found = InfluxDb(made, {1: lambda: part, 2: lambda: part})
        with pytest.raises(SinkError, match=says):
            found.check(tmp_path, {"major": 2})
