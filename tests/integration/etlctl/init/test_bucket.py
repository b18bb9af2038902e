"""The bucket in an InfluxDB 2: made where the token may, else said what to do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from common.config import InfluxSettings
from common.errors import SinkError
from etlctl.init.sink import look_at_sink, make_bucket
from tests.doubles.influx_engine import ORG, TOKEN, Engine
from tests.doubles.influx_management import Place, a_place, an_influx
from tests.doubles.influxdb2 import InfluxDB2


@pytest.fixture
def place() -> Iterator[Place]:
    with an_influx() as influx, a_place(influx) as made:
        yield made


def settings(place: Place, token: str, org: str = "") -> InfluxSettings:
    return InfluxSettings(
        url=place.influx.url, org=org or place.org, bucket="metrics", token=SecretStr(token)
    )


def test_it_is_made_to_keep_points_for_ever(place: Place) -> None:
    said = make_bucket(settings(place, place.influx.admin_token), one=False)
    assert said == "bucket metrics: made, keeps points for ever"
    assert place.rules()["metrics"][0] == 0


def test_a_token_that_may_not_is_said(place: Place) -> None:
    other = place.bucket("other")
    token = place.authorize(("read", other["id"]), ("write", other["id"]))["token"]
    with pytest.raises(SinkError, match="an operator token is needed"):
        make_bucket(settings(place, token), one=False)
    assert "metrics" not in place.rules()


def test_an_organisation_that_is_not_there(place: Place) -> None:
    with pytest.raises(SinkError, match="no organization 'nobody': name yours with --org"):
        make_bucket(settings(place, place.influx.admin_token, "nobody"), one=False)


@pytest.mark.parametrize(("bucket", "there"), [("kept", True), ("other", False)])
def test_a_bucket_is_looked_for_and_only_made_where_it_is_missing(bucket: str, there: bool) -> None:
    with InfluxDB2(Engine("kept")) as server:
        influx = InfluxSettings(url=server.url, org=ORG, bucket=bucket, token=SecretStr(TOKEN))
        facts = look_at_sink(influx, lambda: not there)
    assert facts.bucket_is_there == there
    assert not facts.made and not facts.is_1
    # This stand-in has no management: what is missing is said, and no reason to write nothing.
    assert bool(facts.why_not_made) == (not there)
