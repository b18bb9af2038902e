"""Thanos, Mimir and Cortex, by their stand-in: what holds of every source, and what they alone do.

The first is the contract of ``test_sources.py``, which real Prometheus and VictoriaMetrics pass.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from fakeredis import FakeRedis
from prometheus_client import CollectorRegistry

from common.config import ExtractSettings, Query
from common.errors import QueryTooLarge, SourceRefused, SourceUnavailable
from common.runtime.telemetry import Telemetry
from common.source.http_session import source_session
from common.state.keys import Keys
from common.state.ledger import Ledger
from common.state.windows import Feed, WindowSet
from devtools.servers.binaries import Toolbox
from devtools.servers.influx_server import InfluxServer
from devtools.servers.prometheus_server import PrometheusServer
from devtools.servers.redis_server import RedisServer
from services.extractor.extract import Extractor, Outcome
from services.extractor.history import SourceHistory
from services.extractor.prometheus import PrometheusClient
from services.extractor.staging import EntryBuilder
from services.extractor.windows import Plan
from services.verifier.source import Source
from tests.doubles.query_front import KINDS, QueryFront
from tests.integration.etlctl.verify.world import World
from tests.integration.sources.conftest import HOSTS, SAMPLES, STEP_MS, prometheus_of
from tests.integration.sources.test_sources import (
    EXPR,
    SELECT,
    known,
    read,
    test_an_expr_is_evaluated_at_the_multiples_of_its_step,
    test_its_clock_is_believed,
    test_verify_proves_an_expr_that_has_to_be_halved,
    test_verify_proves_raw_samples,
    test_what_is_too_large_is_split,
    test_windows_share_no_sample_and_miss_none,
)

__all__ = [
    "test_an_expr_is_evaluated_at_the_multiples_of_its_step",
    "test_its_clock_is_believed",
    "test_verify_proves_an_expr_that_has_to_be_halved",
    "test_verify_proves_raw_samples",
    "test_what_is_too_large_is_split",
    "test_windows_share_no_sample_and_miss_none",
]

HOUR_MS = SAMPLES * STEP_MS


@pytest.fixture(scope="module")
def behind(
    toolbox: Toolbox, tmp_path_factory: pytest.TempPathFactory, log_dir: Path, start_ms: int
) -> Iterator[PrometheusServer]:
    folder = tmp_path_factory.mktemp("behind")
    with prometheus_of(toolbox, folder, log_dir, start_ms) as prometheus:
        yield prometheus


@pytest.fixture(params=list(KINDS))
def front(request: pytest.FixtureRequest, behind: PrometheusServer) -> Iterator[QueryFront]:
    with QueryFront(KINDS[request.param], behind.url) as front:
        yield front


@pytest.fixture
def settings(front: QueryFront) -> ExtractSettings:
    return ExtractSettings.model_validate({**front.extract, "timeout": 10})


@pytest.fixture
def client(settings: ExtractSettings) -> Iterator[PrometheusClient]:
    client = PrometheusClient(settings)
    yield client
    client.close()


@pytest.fixture
def world(
    front: QueryFront,
    behind: PrometheusServer,
    influx_server: InfluxServer,
    influx_database: str,
    redis_server: RedisServer,
    redis_namespace: str,
    tmp_path: Path,
    start_ms: int,
) -> World:
    world = World(
        behind, influx_server, redis_server, influx_database, redis_namespace, tmp_path, start_ms
    )
    world.changes = {f"extract.{key}": value for key, value in front.extract.items()}
    return world


def test_a_window_of_raw_samples_may_be_longer_than_a_query(
    client: PrometheusClient, start_ms: int
) -> None:
    with pytest.raises(QueryTooLarge, match=r"exceeds the limit|too many samples"):
        read(client, SELECT, start_ms, start_ms + HOUR_MS)


@pytest.mark.parametrize("query", [SELECT, EXPR], ids=["select", "expr"])
@pytest.mark.parametrize("tells", [True, False], ids=["with-warnings", "without-a-word"])
def test_what_some_stores_do_not_answer_is_not_read(
    front: QueryFront, client: PrometheusClient, start_ms: int, query: Query, tells: bool
) -> None:
    front.is_away, front.tells = True, tells
    bounds = start_ms, start_ms + 40 * STEP_MS
    with pytest.raises(SourceUnavailable):
        read(client, query, *bounds)
    with pytest.raises(SourceUnavailable):
        client.count_in(SELECT, *bounds)
    front.is_away = False
    assert len(read(client, query, *bounds)) == 40 * len(HOSTS) // (1 if query is SELECT else 2)


def test_results_that_a_front_has_kept_are_not_taken(
    front: QueryFront, client: PrometheusClient, start_ms: int
) -> None:
    """Somebody's dashboard asked for the same while a store was away."""
    end_ms = start_ms + 40 * STEP_MS
    asked = {
        "start": f"{start_ms / 1000 + 30:.3f}",
        "end": f"{end_ms / 1000:.3f}",
        "step": "30000ms",
    }
    params = {"query": EXPR.text, **asked, "partial_response": "false", "timeout": ""}
    empty = b'{"status":"success","data":{"resultType":"matrix","result":[]}}'
    url = f"{front.url}/api/v1/query_range"
    headers = front.extract["headers"]
    kept = requests.get(url, params=params, headers=headers, timeout=10)
    assert len(kept.json()["data"]["result"]) == len(HOSTS)
    front.kept = dict.fromkeys(front.kept, empty)
    assert requests.get(url, params=params, headers=headers, timeout=10).content == empty
    assert read(client, EXPR, start_ms, end_ms) == known(start_ms, 2, 40, every=2)


def test_where_a_front_begins_to_answer_is_found_out(
    front: QueryFront, client: PrometheusClient, settings: ExtractSettings, start_ms: int
) -> None:
    """What lies before would be read as empty, and committed."""
    assert client.lowest_timestamp_ms() is None
    middle_ms = start_ms + HOUR_MS // 2
    front.lookback_seconds = time.time() - middle_ms / 1000
    # A half of it, without a word; and none of it.
    asked_ms = middle_ms - 10 * STEP_MS, middle_ms + 10 * STEP_MS
    assert 0 < len(read(client, SELECT, *asked_ms)) < 20 * len(HOSTS)
    assert read(client, SELECT, start_ms, start_ms + 10 * STEP_MS) == []
    # Nor does it answer for long ago where it is asked for what it does answer.
    later_ms = middle_ms + 20 * STEP_MS, middle_ms + 30 * STEP_MS
    assert client.count_in(SELECT, *later_ms) == 10 * len(HOSTS)
    fresh = PrometheusClient(settings)
    history = SourceHistory(fresh, reconnect=fresh.close, cut_off=fresh.cut_off_behind_ms)
    lowest_ms = history.check().lowest_ms
    assert lowest_ms is not None
    assert middle_ms < lowest_ms < middle_ms + 90_000
    again_ms = history.lowest_ms(start_ms)
    assert again_ms is not None
    assert lowest_ms <= again_ms < lowest_ms + 60_000
    # A balancer that has two of them, of which the other answers for more.
    front.lookback_seconds += HOUR_MS / 4_000
    agreed_ms = history.agreed_lowest_ms(again_ms)
    assert agreed_ms is not None
    assert agreed_ms < middle_ms - HOUR_MS / 8
    front.lookback_seconds -= HOUR_MS / 4_000
    fresh.close()
    again_ms = history.lowest_ms(start_ms)
    assert again_ms is not None
    assert history.agreed_lowest_ms(again_ms) == again_ms
    fresh.close()
    source = Source(settings.prometheus_url, source_session(settings))
    assert middle_ms < source.oldest_ms() < middle_ms + 90_000
    source.close()


@pytest.mark.parametrize("front", ["mimir"], indirect=True)
@pytest.mark.parametrize("left_ms", [HOUR_MS // 8, 40_000], ids=["middle", "near-its-end"])
def test_of_a_window_across_where_a_front_begins_one_part_is_a_gap_and_the_rest_is_loaded(
    front: QueryFront, settings: ExtractSettings, start_ms: int, left_ms: int
) -> None:
    """Its read gives what lies after, as if there had never been anything before."""
    redis, keys = FakeRedis(), Keys("t")
    windows, client, end_ms = WindowSet(redis, keys), PrometheusClient(settings), start_ms + HOUR_MS
    history = SourceHistory(client, reconnect=client.close, cut_off=client.cut_off_behind_ms)
    query = SELECT.model_copy(update={"name": "q"})
    plan = Plan(Feed("q", "hot", "select", "f"), query, STEP_MS, 0, 0, 10**9, HOUR_MS // 4)
    windows.plan(plan.feed, start_ms, end_ms)
    telemetry = Telemetry("extractor", CollectorRegistry())
    extractor = Extractor(windows, client.read, history, EntryBuilder(100), settings, telemetry)
    limit_ms = start_ms + HOUR_MS * 3 // 4 - left_ms
    front.lookback_seconds = time.time() - limit_ms / 1000
    outcomes = []
    while (window := windows.lease(plan.feed, "catchup", 0, HOUR_MS // 4)) is not None:
        outcomes.append(extractor.run(plan, window, start_ms))
    client.close()
    assert set(outcomes) == {Outcome.GAP, Outcome.COMMITTED}
    gaps = sorted((gap.start_ms, gap.end_ms) for gap in windows.gaps("q@hot"))
    assert gaps[0][0] == start_ms
    assert all(one[1] == after[0] for one, after in itertools.pairwise(gaps))
    lost_until_ms = gaps[-1][1]
    assert limit_ms < lost_until_ms < limit_ms + 180_000
    loaded = Ledger(redis, keys).audit().total.extracted
    assert loaded == (end_ms - lost_until_ms) // STEP_MS * len(HOSTS)
    assert windows.status()["q@hot"].backlog == []


def test_too_much_at_once_is_asked_again_when_it_says(
    front: QueryFront, client: PrometheusClient, start_ms: int
) -> None:
    front.busy = True
    with pytest.raises(SourceUnavailable, match="429") as raised:
        read(client, SELECT, start_ms, start_ms + STEP_MS)
    assert raised.value.retry_after_seconds == 7


def test_what_it_does_not_say_of_itself_is_not_known(client: PrometheusClient) -> None:
    assert client.run() is None
    scrapes = client.scrape_settings()
    assert scrapes.needed_seconds(SELECT) is None
    assert scrapes.settle(SELECT).seconds >= 30


@pytest.mark.parametrize("front", ["mimir", "cortex"], indirect=True)
def test_a_tenant_and_the_path_are_asked_for(front: QueryFront) -> None:
    root = front.url.removesuffix(front.kind.prefix)
    for changes, says in (
        ({"headers": {}}, "no org id.*extract.header_files, X-Scope-OrgID"),
        ({"prometheus_url": root}, "Mimir and Cortex have it under a path"),
    ):
        client = PrometheusClient(ExtractSettings.model_validate({**front.extract, **changes}))
        with pytest.raises(SourceRefused, match=says):
            client.now_ms()
        client.close()
