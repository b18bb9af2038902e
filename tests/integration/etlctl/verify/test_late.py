"""Recounts to come: what came late to a window is not loaded yet; what did not is a loss."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
import redis

from common.config import load_settings
from common.samples.digest import digests_of
from common.state.keys import Keys
from common.state.windows import Feed, WindowSet
from services.extractor.prometheus import PrometheusClient
from services.verifier.connect import source_of
from services.verifier.late import digests_of as spelled
from services.verifier.verdict import EXIT_CODES, Verdict
from tests.integration.etlctl.verify.test_compare import SOURCE
from tests.integration.etlctl.verify.world import EXPR, World

Capture = pytest.CaptureFixture[str]


def commit(
    world: World,
    client: redis.Redis,
    query: str,
    samples: int,
    digest: tuple[int, int] = (0, 0),
    after_seconds: tuple[float, ...] = (3_600,),
) -> None:
    """Record the history as one committed window in which the source had so many samples."""
    windows = WindowSet(client, Keys(world.namespace))
    feed = Feed(query, "hot", "select", "any")
    windows.plan(feed, world.start_ms, world.end_ms)
    window = windows.lease(feed, "live", 10**12, 10**12)
    assert window is not None
    status = windows.commit(
        feed,
        window,
        [],
        recheck_after_seconds=after_seconds,
        source_samples=samples,
        digest=digest,
    )
    assert status == "committed"


@pytest.mark.parametrize(("late", "recounts"), [(3, 1), (0, 1), (3, 0)])
def test_as_many_raw_samples_as_came_late_may_be_missing(
    world: World, redis_client: redis.Redis, capsys: Capture, late: int, recounts: int
) -> None:
    commit(world, redis_client, "raw", SOURCE - late, after_seconds=(3_600,) * recounts)
    points = world.expected()
    world.write(points[:-4])

    result = world.verify(capsys, "--json")

    explained = late if recounts else 0
    assert result.code != 0
    assert result.query()["missing"] == 4
    assert result.query()["explained"]["missing"] == ({"recheck_due": late} if explained else {})
    assert result.query()["unexplained"] == 4 - explained


def test_a_raw_sample_that_differs_came_not_late(
    world: World, redis_client: redis.Redis, capsys: Capture
) -> None:
    commit(world, redis_client, "raw", SOURCE - 3)
    series, time_ms, _ = world.expected()[0]
    world.write([*world.expected(), (series, time_ms, 0.5)])

    assert world.verify(capsys, "--json").query()["unexplained"] == 1


@pytest.fixture
def extractor(world: World) -> PrometheusClient:
    return PrometheusClient(load_settings(world.config()).extract)


@pytest.mark.parametrize("changed", [True, False])
def test_an_expression_that_gives_something_else_now_is_evaluated_again(
    world: World,
    redis_client: redis.Redis,
    capsys: Capture,
    extractor: PrometheusClient,
    changed: bool,
) -> None:
    world.queries = [EXPR]
    (query,) = load_settings(world.config()).extract.queries
    (digest,) = digests_of(extractor.read(query, world.start_ms, world.end_ms), [world.end_ms])
    low, high = digest.sums
    commit(world, redis_client, "by_host", digest.samples, (low + changed, high))
    points = world.expected_by_host()
    series, time_ms, _ = points[1]
    world.write([*points[1:], (series, time_ms, 0.5)])

    outcome = world.verify(capsys, "--json")

    result = outcome.query("by_host")
    assert outcome.code == EXIT_CODES[Verdict.INCOMPLETE if changed else Verdict.DIFFERENT]
    assert (result["missing"], result["different"]) == (1, 1)
    assert result["unexplained"] == (0 if changed else 2)
    if changed:
        assert result["explained"]["missing"] == {"recheck_due": 1}
        assert result["explained"]["different"] == {"recheck_due": 1}


@pytest.mark.parametrize(
    "label", ['quote"s', "back\\slash", "line\nfeed", "<&>", "é\u2028\U0001f600", "\t\r", "\x01"]
)
def test_the_two_decoders_agree_on_the_digest(
    world: World, extractor: PrometheusClient, label: str
) -> None:
    text = (
        f'label_replace(load{{job="app"}}, "odd", {json.dumps(label, ensure_ascii=False)}, "", "")'
    )
    world.queries = [{"name": "odd", "expr": text, "step": "30s"}]
    settings = load_settings(world.config())
    (query,) = settings.extract.queries
    bounds = world.start_ms, world.end_ms
    (digest,) = digests_of(extractor.read(query, *bounds), [world.end_ms])
    with closing(source_of(settings)) as source:
        series = source.read_expr(query.text, query.step_ms, *bounds)
    assert digest.samples == sum(len(one.values) for one in series) == 240
    assert digest in spelled(series)
