"""``etlctl backup`` and ``etlctl restore``: everything that the pipeline keeps, in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeElapsedColumn

from common.config import Settings, load_settings
from common.config.load import database_of
from common.sink.http_session import SinkSession
from etlctl.backup.grafana import GrafanaDatabase
from etlctl.backup.influx import InfluxDb
from etlctl.backup.influx1 import RPC_PORT, Influx1
from etlctl.backup.influx2 import Influx2
from etlctl.backup.parts import Part
from etlctl.backup.prometheus import PrometheusHistory
from etlctl.backup.redis_state import RedisState
from etlctl.backup.run import ORDER, Outcome
from etlctl.backup.run import restore as restore_parts
from etlctl.backup.run import save as save_parts
from etlctl.connect import redis_of
from etlctl.options import AsJson, ConfigFile, read_secret_option, shared_options
from etlctl.output import print_json, progress_bar, remark

# A shard may be gigabytes, and InfluxDB answers when it has it on disk.
_RESPONSE_SECONDS = 600.0
# The section of the configuration whose secrets a part needs.
_SECRETS = {"redis": "pipeline", "influxdb": "load", "prometheus": "extract"}

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the backup.")]
Without = Annotated[
    list[str] | None,
    typer.Option(
        "--without", metavar="PART", help=f"Leave out one of {', '.join(ORDER)}; can be repeated."
    ),
]
AdminTokenFile = Annotated[
    Path,
    typer.Option("--admin-token-file", metavar="FILE", help="Operator token of InfluxDB 2."),
]
Influxd = Annotated[
    str, typer.Option("--influxd", metavar="PROGRAM", help="influxd, for InfluxDB 1.x.")
]
InfluxdAddress = Annotated[
    str | None,
    typer.Option(
        "--influxd-address",
        metavar="ADDRESS",
        help="host:port where InfluxDB 1.x takes backups; port 8088 of its host if not given.",
    ),
]
PrometheusData = Annotated[
    Path | None,
    typer.Option("--prometheus-data", metavar="DIR", help="Data directory of Prometheus."),
]
GrafanaData = Annotated[
    Path | None,
    typer.Option("--grafana-data", metavar="DIR", help="Data directory of Grafana."),
]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be saved or restored."""

    folder: Path
    without: frozenset[str]
    admin_token_file: Path
    influxd: str
    influxd_address: str | None
    prometheus_data: Path | None
    grafana_data: Path | None
    config: Path | None
    as_json: bool


def plan_of(
    folder: Folder,
    without: Without = None,
    admin_token_file: AdminTokenFile = Path("/run/secrets/influxdb_admin_token"),
    influxd: Influxd = "influxd",
    influxd_address: InfluxdAddress = None,
    prometheus_data: PrometheusData = None,
    grafana_data: GrafanaData = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> Plan:
    """Raises :class:`typer.BadParameter` for a part that there is not."""
    for name in without or ():
        if name not in ORDER:
            raise typer.BadParameter(f"--without {name}: is not one of {', '.join(ORDER)}")
    return Plan(
        folder,
        frozenset(without or ()),
        admin_token_file,
        influxd,
        influxd_address,
        prometheus_data,
        grafana_data,
        config,
        as_json,
    )


@shared_options("plan", plan_of)
def backup(plan: Plan) -> None:
    """Save in a folder what the pipeline and its servers keep.

    The servers are InfluxDB, Prometheus and Grafana. Extractor, transformer, loader and verifier
    must be stopped until Redis is saved.
    """
    _carry_out(plan, save_parts, "saved in")


@shared_options("plan", plan_of)
def restore(plan: Plan) -> None:
    """Bring back what `etlctl backup` saved.

    Into servers that hold nothing yet. Extractor, transformer, loader and verifier must be stopped;
    Prometheus and Grafana too, where they are restored.
    """
    _carry_out(plan, restore_parts, "restored from")


def _carry_out(plan: Plan, action: Callable[..., Outcome], done: str) -> None:
    secrets = [section for part, section in _SECRETS.items() if part not in plan.without]
    # The loader's token may be one that `sink init` has yet to make.
    settings = load_settings(plan.config, secrets=secrets, pending=[])
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TimeElapsedColumn(),
    )
    namespace = settings.pipeline.redis_namespace
    with (
        _parts(plan, settings) as parts,
        progress_bar(*columns, quiet=plan.as_json) as bar,
    ):
        outcome = action(plan.folder, namespace, parts, bar, remark)
    if plan.as_json:
        print_json({"folder": str(plan.folder), **asdict(outcome)})
    else:
        typer.echo(f"{done} {plan.folder}: {', '.join(outcome.done)}")


@contextmanager
def _parts(plan: Plan, settings: Settings) -> Iterator[Sequence[Part]]:
    with ExitStack() as opened:
        redis, keys = redis_of(settings.pipeline)
        opened.callback(redis.close)
        parts: list[Part] = [
            RedisState(redis, keys),
            _influx(plan, settings, opened),
            PrometheusHistory(settings.extract, plan.prometheus_data),
            GrafanaDatabase(plan.grafana_data),
        ]
        yield [part for part in parts if part.name not in plan.without]


def _influx(plan: Plan, settings: Settings, opened: ExitStack) -> InfluxDb:
    influxdb = settings.load.influxdb
    load = settings.load
    buckets = [bucket for tier in load.tiers for bucket in load.buckets_of(tier)]
    slow = influxdb.model_copy(update={"timeout_seconds": _RESPONSE_SECONDS})

    def session(token: str | None = None, token_from: str = "") -> SinkSession:
        made = SinkSession(slow, connections=1, token=token, token_from=token_from)
        opened.callback(made.close)
        return made

    def influx1() -> Influx1:
        address = plan.influxd_address or f"{urlsplit(influxdb.url).hostname}:{RPC_PORT}"
        databases = [database_of(bucket)["db"] for bucket in buckets]
        return Influx1(asked, databases, program=plan.influxd, address=address)

    def influx2() -> Influx2:
        file = plan.admin_token_file
        token = read_secret_option("--admin-token-file", file)
        return Influx2(session(token, f"--admin-token-file: {file}"), influxdb.org, buckets)

    asked = session()
    return InfluxDb(asked, {1: influx1, 2: influx2})
