"""``load.bucket_from``: what is read of it, and what is refused, in one sentence each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from common.config import Settings, load_settings
from common.errors import ConfigError
from etlctl.sink.init import WantedBucket, wanted_buckets

WARM = {"bucket": "warm", "resolution": "1m", "aggregates": ["avg"]}


def settings(folder: Path, bucket_from: dict[str, Any], **hot: str) -> Settings:
    file = folder / "etl.yaml"
    load = {
        "influxdb": {"url": "http://i", "org": "o", "bucket": "b"},
        "bucket_from": bucket_from,
        "tiers": {"hot": {"bucket": "b", **hot}, "warm": WARM},
    }
    document = {"extract": {"prometheus_url": "http://p"}, "load": load}
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return load_settings(file, {})


def test_only_the_hot_tier_has_more_than_one_bucket(tmp_path: Path) -> None:
    buckets = {"a": "one", "b": "two", "c": "one", "d": "b"}
    load = settings(tmp_path, {"label": "team", "buckets": buckets}, retention="2h").load
    assert load.buckets_of("hot") == ("b", "one", "two")
    assert load.buckets_of("warm") == ("warm",)
    assert wanted_buckets(load) == (
        *(WantedBucket(name, 7200) for name in ("b", "one", "two")),
        WantedBucket("warm", None),
    )


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"label": "team"}, "load.bucket_from.buckets: "),
        ({"label": "team", "buckets": {}}, "load.bucket_from.buckets: "),
        ({"label": "", "buckets": {"a": "x"}}, "load.bucket_from.label: "),
        (
            {"label": "__name__", "buckets": {"a": "x"}},
            "load.bucket_from.label: is __name__, which no series has after relabelling",
        ),
        (
            {"label": "team", "buckets": {"": "x"}},
            "load.bucket_from.buckets: has an empty value: a label without one is no label",
        ),
        (
            {"label": "team", "buckets": {"a": "warm"}},
            "load.bucket_from.buckets: warm is already the bucket of warm",
        ),
        (
            {"label": "team", "buckets": {"a": "0123456789abcdef"}},
            "is the id of a bucket, which cannot be read back",
        ),
        (
            {"label": "team", "buckets": {str(i): f"b{i}" for i in range(101)}},
            "load.bucket_from.buckets: has 101 buckets: at most 100",
        ),
        (
            # Two names with one CRC-32.
            {"label": "team", "buckets": {"a": "plumless", "b": "buckeroo"}},
            "load.bucket_from.buckets: buckeroo cannot stand beside plumless: rename one",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, given)
    (said,) = caught.value.problems
    assert problem in said
