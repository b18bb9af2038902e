"""The stages' figures, and how long a backlog takes."""

from __future__ import annotations

from common.state.feeds import FeedStatus, Range
from common.state.ledger import Account, Audit
from common.state.status.stages import Backlog, backlog, stages
from common.state.workers import WorkerReport

NOW_MS = 1_000_000


def worker(service: str, rate: float | None = None, *, ready: bool = True) -> WorkerReport:
    figures = {} if rate is None else {"etl_current_rate_records_per_second": rate}
    return WorkerReport(f"{service}-{rate}", service, NOW_MS, ready, {}, figures)


def feed(*waiting: Range) -> FeedStatus:
    return FeedStatus("q", "hot", "f", 0, NOW_MS, waiting, [], [], 0, NOW_MS, 0)


def audit(extracted: int) -> Audit:
    return Audit(NOW_MS, {"q@hot": Account(extracted)}, {}, 0, 0, {}, back_pressure=False)


def test_a_stage_is_all_of_its_workers() -> None:
    extractor, transformer, loader = stages(
        [worker("loader", 10.0), worker("loader", 5.0, ready=False), worker("extractor")]
    )
    assert (len(loader.workers), loader.ready, loader.samples_per_second) == (2, 1, 15.0)
    assert (len(extractor.workers), extractor.ready, extractor.samples_per_second) == (1, 1, 0)
    assert transformer.workers == []
    assert transformer.batch_seconds is None


def test_a_backlog_ends_when_what_comes_meanwhile_is_extracted_too() -> None:
    # A sample a second was extracted in 800 s; 200 s wait; ten a second less one are won.
    found = backlog(audit(800), {"q@hot": feed((0, 200_000))}, [worker("extractor", 11.0)])

    assert found == Backlog(200, 1, 20.0)


def test_a_backlog_that_does_not_shrink_has_no_end() -> None:
    found = backlog(audit(800), {"q@hot": feed((0, 200_000))}, [worker("extractor", 0.5)])

    assert found == Backlog(200, 1, None)


def test_without_a_sample_extracted_nobody_knows_how_many_wait() -> None:
    everything = {"q@hot": feed((0, NOW_MS))}

    assert backlog(audit(0), everything, [worker("extractor", 9.0)]) == Backlog(1000, 1, None)


def test_no_backlog() -> None:
    assert backlog(audit(800), {"q@hot": feed()}, [worker("extractor", 9.0)]).seconds == 0
