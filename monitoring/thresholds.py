"""Every threshold, time and selector of the alerts, in one place.

Fields that end in ``_seconds`` are times, and :meth:`Thresholds.quicker` shortens them all alike:
a test renders the very same rules and sees them fire within seconds. All other fields are levels.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

from common.state.feeds import EMPTY_SECONDS

# --- who is meant: label matchers, as they stand inside a selector ----------------------------

# The jobs of prometheus.yml.
STAGES = ("extractor", "transformer", "loader")
VERIFIER = "verifier"
ETL_METRICS = "etl-metrics"
TEST_APP = "test-app"
PROMETHEUS = "prometheus"

# The process that etl-metrics follows by its log: the simulated one, until yours logs the same.
PROCESS = f'job="{ETL_METRICS}"'
STAGE_JOBS = f'job=~"{"|".join(STAGES)}"'
# All that read etl.yaml.
CONFIGURED_JOBS = f'job=~"{"|".join((*STAGES, VERIFIER))}"'
# All that speak the nine metrics which a process and a stage have in common.
SPEAKING_JOBS = (ETL_METRICS, *STAGES, VERIFIER)
SPEAKERS = f'job=~"{"|".join(SPEAKING_JOBS)}"'
# What is read from Redis has one reader, so that no two replicas can disagree.
REDIS = f'job="{ETL_METRICS}"'
EXTRACTOR = f'job="{STAGES[0]}"'
# Rollups of the warm and cold tiers are late by nature: the objective is about the hot one.
FRESH_FEEDS = f'{REDIS}, tier="hot"'

# --- where things are -------------------------------------------------------------------------

# Prefix of every runbook_url. Put your repository's address before it, so that a click in a
# message gets there: "https://git.example.com/etl/blob/main/docs/runbook.md".
RUNBOOK_URL = "docs/runbook.md"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What the alerts compare with; the defaults are what is rendered and committed."""

    # A scrape may fail now and then. Gauges are read over this time, so that one that was
    # missed neither hides what is wrong nor ends an alert: several scrapes, less than any `for`.
    bridge_seconds: float = 60
    # How often Prometheus scrapes, and evaluates the alerts.
    scrape_interval_seconds: float = 15
    evaluation_seconds: float = 15
    # Grafana's scheduler takes multiples of ten seconds. The second is of groups with alerts on
    # what stands still at once: monitoring/render/timing.py adds up when their message is sent.
    grafana_evaluation_seconds: float = 30
    grafana_prompt_evaluation_seconds: float = 10

    # --- a process or stage, by the nine metrics that all of them speak ---
    unhealthy_for_seconds: float = 120
    endpoint_down_for_seconds: float = 60
    no_success_seconds: float = 600
    # Longer than an extractor waits at most before it tries again (extract.backoff_max_seconds):
    # after an outage of Prometheus its last success is long ago, and the next is at hand.
    no_success_for_seconds: float = 120
    # One failure a minute is normal for the simulated process: 5 in this time, 10 at the worst.
    failure_window_seconds: float = 300
    failures: float = 20
    # They go on: what failed while nobody scraped is found all at once when it is over. So long a
    # jump is seen, and so long is waited.
    failure_recent_seconds: float = 120
    failure_for_seconds: float = 120
    # Half of what the simulated process does (3 to 17 over a minute, 9 to 11 over five). Yours has
    # a pace of its own: change this.
    throughput_window_seconds: float = 300
    throughput_for_seconds: float = 120
    throughput_records_per_second: float = 5
    # A file of the simulated process takes 3 s in the mean (1 to 7 s over a minute), a stage's
    # batch well under 1 s.
    processing_window_seconds: float = 300
    processing_for_seconds: float = 60
    processing_seconds: float = 10
    log_unreadable_for_seconds: float = 120

    # --- the stages ---
    stage_down_for_seconds: float = 60
    # How long ago a stage must have been seen for its absence to be a failure, where nothing else
    # shows that a pipeline belongs here.
    stage_known_seconds: float = 6 * 3600
    # Long enough for a sink's own time-outs (20 s) and an open circuit (10 s) to be over.
    stalled_window_seconds: float = 300
    stalled_for_seconds: float = 120
    # Longer than the longest wait before the next attempt, after which all may be well again.
    window_failing_for_seconds: float = 120
    # In a row. With waits of 0.5 s doubling to 60 s that is more than a minute without success.
    window_failures: float = 8

    # A recount is given up after hours of attempts: any is news.
    recheck_window_seconds: float = 3600

    # --- backlog ---
    # A backlog is a catch-up, unless it grows: less than 0.1 is noise, 1 is standing still.
    backlog_window_seconds: float = 900
    backlog_for_seconds: float = 300
    backlog_level_seconds: float = 600
    backlog_growth_seconds_per_second: float = 0.1
    # It grows still: the mean of the long window is up for minutes after the cause is over.
    backlog_recent_seconds: float = 180
    oldest_entry_seconds: float = 300
    oldest_entry_for_seconds: float = 120
    back_pressure_for_seconds: float = 900

    # --- what must never happen: any is too many; how long each alert lasts ---
    dead_letters_window_seconds: float = 900
    # Of the cap: there is time to look before any entry has to wait.
    dead_letters_share: float = 0.5
    deleted_window_seconds: float = 3600
    gap_window_seconds: float = 3600
    payloads_window_seconds: float = 3600
    foreign_jobs_window_seconds: float = 3600
    evicted_window_seconds: float = 3600

    # --- the source ---
    # In seconds; as far apart as clocks may be to count as the same (services/extractor).
    clock_difference: float = 5
    # Scrapes of two servers fall into a window differently; one that is started anew is away for
    # minutes.
    replica_lacks_ratio: float = 0.1
    replica_lacks_for_seconds: float = 900
    # It is told at the start and after each reload of Prometheus.
    settle_for_seconds: float = 60
    # The same in `etlctl status`. A query of which that is normal says so (`may_be_empty`).
    query_empty_seconds: float = EMPTY_SECONDS
    # A changed query is extracted afresh from where it was.
    query_empty_for_seconds: float = 300
    histograms_window_seconds: float = 3600

    # --- the sink ---
    # The loader pauses by itself at load.max_rejected_share (0.5).
    rejected_share: float = 0.1
    rejected_for_seconds: float = 60
    sink_paused_for_seconds: float = 60
    circuit_open_for_seconds: float = 60
    # Times that the circuit closed: one that stays open does not flap.
    flapping_window_seconds: float = 900
    circuit_closings: float = 3
    # One is a hole in the data: a backlog so old that its bucket would not keep it.
    beyond_retention_window_seconds: float = 900
    beyond_retention_samples: float = 0

    # Each is a point that waits for somebody to raise a limit.
    limited_window_seconds: float = 900
    limited_lines: float = 0
    # Seals are written every pipeline.watermark_seconds, many at a time.
    seals_window_seconds: float = 900
    # At the start a sink may not answer at once.
    retention_unknown_for_seconds: float = 60

    # Whoever edits a file mends it at once.
    config_refused_for_seconds: float = 60

    # --- verification ---
    # What had its last recount is compared within minutes; a backlog of it is no failure while it
    # shrinks. At 5 % of a core 20,000 samples a second and more are compared: six hours of 5,000 a
    # second take an hour and a half, less than the window.
    verify_repairs_window_seconds: float = 6 * 3600
    verify_repairs: float = 1
    verify_behind_seconds: float = 6 * 3600
    verify_behind_window_seconds: float = 2 * 3600
    verify_behind_for_seconds: float = 300

    # --- Redis ---
    redis_down_for_seconds: float = 60
    redis_file_for_seconds: float = 60
    redis_eviction_for_seconds: float = 60
    # Back-pressure should act before that; what is left must suffice for the AOF rewrite's buffers.
    redis_memory_share: float = 0.8
    redis_memory_for_seconds: float = 120

    # --- the freshness objective: this share of minutes is fresher than freshness_seconds ---
    # Fresh is: settle_seconds (30 s), an interval (15 s), the way through the stages, and the time
    # until it is read and scraped (30 s). Twice that is late.
    freshness_seconds: float = 180
    freshness_objective: float = 0.99
    slo_evaluation_seconds: float = 60
    # (burn rate, long window, short window): burnt at this rate, a budget of 30 days lasts
    # 2 days, 5 days, 10 days, 30 days. The short window ends an alert soon after its cause.
    fast_burn: float = 14.4
    fast_long_seconds: float = 3600
    fast_short_seconds: float = 300
    fast_burn_slower: float = 6
    fast_slower_long_seconds: float = 6 * 3600
    fast_slower_short_seconds: float = 1800
    slow_burn: float = 3
    slow_long_seconds: float = 86_400
    slow_short_seconds: float = 2 * 3600
    slow_burn_slower: float = 1
    slow_slower_long_seconds: float = 3 * 86_400
    slow_slower_short_seconds: float = 6 * 3600

    def quicker(self, factor: float, *, scrape_interval_seconds: float) -> Self:
        """The same with every time divided by ``factor``, for a test that cannot wait.

        No time falls below four scrapes, because a rate needs two samples and a bridge should
        outlast a missed one; Prometheus' own intervals become ``scrape_interval_seconds``.
        """
        intervals = ("scrape_interval_seconds", "evaluation_seconds", "slo_evaluation_seconds")
        times = {
            field.name: scrape_interval_seconds
            if field.name in intervals
            else max(getattr(self, field.name) / factor, 4 * scrape_interval_seconds)
            for field in fields(self)
            if field.name.endswith("_seconds") and not field.name.startswith("grafana_")
        }
        return replace(self, **times)
