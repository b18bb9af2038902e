"""``etlctl status``: where the pipeline stands, from its ledger as of one instant."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Any

import typer
from redis.exceptions import RedisError

from common.config import Settings, load_settings
from common.exit_codes import ExitCode
from common.state.status.reading import PipelineStatus, read_status
from common.state.status.stages import backlog, stages
from etlctl.connect import redis_of
from etlctl.failures import CannotTell, message_of
from etlctl.history.state import document as backfill_document
from etlctl.options import AsJson, ConfigFile
from etlctl.output import print_json, stdout
from etlctl.status.alerts import Alerts, read_alerts
from etlctl.status.present import screen
from etlctl.watching import Seen, Watch, watched


def status(config: ConfigFile = None, watch: Watch = None, as_json: AsJson = False) -> None:
    """Show whether all is well, and what the stages do.

    Everything is read from Redis, the alerts from Prometheus. Ends with 0 if all is well, 1 if
    something needs a person, and 2 if that cannot be told.
    """
    settings = load_settings(config, secrets=("pipeline",))

    def look() -> Seen:
        found, alerts = read_pipeline(settings), read_alerts(settings)
        code = ExitCode.ERROR if found.findings() else ExitCode.OK
        return code, lambda: show(found, alerts, as_json=as_json)

    raise typer.Exit(watched(watch, look, as_json=as_json))


def read_pipeline(settings: Settings) -> PipelineStatus:
    """What Redis knows. Raises :class:`CannotTell`."""
    redis, keys = redis_of(settings.pipeline)
    try:
        with closing(redis):
            return read_status(redis, keys, settings.pipeline.dead_letters.max_entries)
    except RedisError as error:
        raise CannotTell(message_of(error)) from None


def show(found: PipelineStatus, alerts: Alerts, *, as_json: bool) -> None:
    """Print it."""
    if as_json:
        print_json(document(found, alerts))
        return
    console = stdout()
    for one in screen(found, alerts):
        console.print(one, soft_wrap=isinstance(one, str))


def document(found: PipelineStatus, alerts: Alerts) -> dict[str, Any]:
    """All of it as plain data."""
    needs = found.findings()
    waiting = backlog(found.audit, found.feeds, found.workers)
    return {
        "well": not needs,
        "findings": [asdict(one) for one in needs],
        "alerts_firing": alerts.firing,
        "alerts_unknown": alerts.why or None,
        "stages": [
            {
                "stage": one.service,
                "replicas": len(one.workers),
                "ready": one.ready,
                "samples_per_second": one.samples_per_second,
                "batch_seconds": one.batch_seconds,
            }
            for one in stages(found.workers)
        ],
        "backlog": asdict(waiting),
        "workers": [asdict(one) for one in found.workers],
        "backfills": [backfill_document(one) for one in found.backfills],
    } | found.document()
