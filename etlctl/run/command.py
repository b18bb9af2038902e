"""``etlctl run``: the way without containers, on one machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etlctl.options import PlainConfigFile

if TYPE_CHECKING:
    from redis import Redis

    from common.config import Settings
    from etlctl.run.child import Child
    from etlctl.run.journal import Journal
    from etlctl.run.redis import OwnRedis

WithMetrics = Annotated[
    bool, typer.Option("--with-metrics", help="Also run etl-metrics, which exports the ledger.")
]
DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        envvar="ETL_DATA",
        help="Folder of the lock and of a Redis of its own; beside the configuration if not given.",
    ),
]
FirstPort = Annotated[
    int | None,
    typer.Option(
        "--port",
        metavar="PORT",
        min=0,
        max=65_535,
        help="First of the ports, one for each process; 0 = free ones. Not given: "
        "pipeline.http_port.",
    ),
]

JsonLines = Annotated[bool, typer.Option("--json", help="Print each event as one JSON object.")]


def run(
    config: PlainConfigFile = None,
    data: DataFolder = None,
    with_metrics: WithMetrics = False,
    port: FirstPort = None,
    as_json: JsonLines = False,
) -> None:
    """Run all stages as processes of this one, until Ctrl-C.

    Where the configuration names no Redis, with one of its own. What dies is started again; the
    first Ctrl-C (or SIGTERM) lets what is in flight arrive, the second ends everything at once.
    """
    from common.config import DEFAULT_PATH, load_settings
    from etlctl.run.folder import data_folder, locked
    from etlctl.run.journal import Journal

    file = config or DEFAULT_PATH
    settings = load_settings(file)
    folder = data_folder(file, data)
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    with locked(folder):
        journal = Journal(as_json=as_json, colours=colours)
        try:
            code = _run(settings, file, folder, with_metrics, port, journal)
        finally:
            journal.close()
    raise typer.Exit(code)


def _run(
    settings: Settings,
    config: Path,
    folder: Path,
    with_metrics: bool,
    port: int | None,
    journal: Journal,
) -> int:
    from etlctl.run import programs as plan
    from etlctl.run.child import Child
    from etlctl.run.folder import PASSWORD_FILE_VARIABLE, URL_VARIABLE, forget_address
    from etlctl.run.redis import OwnRedis
    from etlctl.run.supervisor import Order, Supervisor

    environ, variables = dict(os.environ), dict[str, str]()
    own: OwnRedis | None = None
    if "redis_url" in settings.pipeline.model_fields_set:
        forget_address(folder)
    else:
        own = OwnRedis.prepare(folder, environ)
        variables[URL_VARIABLE] = own.url
        variables[PASSWORD_FILE_VARIABLE] = str(own.password_file.absolute())
    wanted = plan.Wanted(config, with_metrics, port)
    children: dict[str, Child] = {
        one.name: Child(one, journal) for one in plan.programs(settings, wanted, environ, variables)
    }
    sources = [children[plan.EXTRACTOR], children[plan.VERIFIER]]
    stages = [children[plan.TRANSFORMER], children[plan.LOADER]]
    servers = [children[plan.ETL_METRICS]] if with_metrics else []
    for child in children.values():
        journal.say(f"{child.name} answers on {child.program.address}")
    with ExitStack() as opened:
        redis = opened.enter_context(_client(settings, own))
        redis_child = None
        if own is not None:
            redis_child = own.child(lambda program: Child(program, journal), environ)
            servers.append(redis_child)
            journal.say(f"redis answers on {redis_child.program.address}, its data is in {folder}")
        order = Order(
            sources, stages, servers, _in_flight(settings, redis), settings.pipeline.drain_seconds
        )
        supervisor = Supervisor(order, journal)
        supervisor.take_signals()
        if own is not None and redis_child is not None:
            try:
                redis_child.start()
                own.wait_until_it_answers(redis_child, supervisor.asked_to_stop)
            except BaseException:
                supervisor.kill()
                raise
        return int(supervisor.run())


def _client(settings: Settings, own: OwnRedis | None) -> Redis:
    from common.state.connection.redis_client import connect_as_set

    return connect_as_set(settings.pipeline) if own is None else own.client()


def _in_flight(settings: Settings, redis: Redis) -> Callable[[], int | None]:
    from redis.exceptions import RedisError

    from common.state.keys import STREAMS, Keys

    keys = Keys(settings.pipeline.redis_namespace)

    def count() -> int | None:
        try:
            return sum(int(redis.xlen(keys.stream(name))) for name in STREAMS)
        except RedisError:
            return None

    return count
