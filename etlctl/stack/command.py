"""``etlctl stack``: the whole stack in containers, through ``docker compose``."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from common.errors import ConfigError
from common.exit_codes import ExitCode
from etlctl.options import Yes, group, shared_options
from etlctl.output import remark, stdout
from etlctl.reload_options import DEFAULT_TIMEOUT_SECONDS, TimeoutSeconds
from etlctl.stack.compose import MAIN_FILE, MONITORING_FILE, Compose, compose_files, suited
from etlctl.stack.docker import ComposeFailed, Docker
from etlctl.stack.engine import find_engine
from etlctl.stack.pin import find_pins
from etlctl.stack.receivers import receiver_problems
from etlctl.stack.report import report
from etlctl.stack.rolling import restart_each
from etlctl.stack.scale import SCALABLE, parse_scales, replicas, scale_all
from etlctl.stack.up import up as start

stack_app = group("Run the stack in containers, through docker compose.")

# In this order: samples are taken, changed, delivered, and then what only watches.
RESTARTED = (*SCALABLE, "verifier", "etl-simulator", "etl-metrics")
# Who reads etl.yaml.
READERS = (*SCALABLE, "verifier")

CHECKOUT = Path(__file__).resolve().parents[2]
INTERRUPTED = 128 + signal.SIGINT

ProjectDir = Annotated[
    Path | None,
    typer.Option(
        "--project-dir",
        metavar="DIR",
        help="Folder of the compose files; the checkout if not given.",
    ),
]
Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        help="One more compose file over the others; can be given several times.",
    ),
]
MonitoringOnly = Annotated[
    bool,
    typer.Option("--monitoring-only", help="Only the monitoring stack, without the pipeline."),
]
NoBuild = Annotated[bool, typer.Option("--no-build", help="Take the images as they are.")]
WaitSeconds = Annotated[
    int,
    typer.Option(
        "--wait-seconds", metavar="SECONDS", min=1, help="How long becoming healthy may take."
    ),
]
Services = Annotated[
    list[str] | None, typer.Argument(metavar="SERVICE...", help="Services; all if none.")
]
Follow = Annotated[bool, typer.Option("--follow", help="Go on showing what comes.")]
Tail = Annotated[
    int | None,
    typer.Option("--tail", metavar="N", min=0, help="Only the last N lines of each."),
]
Output = Annotated[
    Path, typer.Option("--output", metavar="FILE", help="The compose file to write.")
]
Scales = Annotated[
    list[str], typer.Argument(metavar="SERVICE=NUMBER...", help="Replicas, 0 to 100.")
]


class Stack(NamedTuple):
    """The compose project that the options name; ``monitoring_only``: without the pipeline."""

    compose: Compose
    monitoring_only: bool

    @property
    def orphans(self) -> list[str]:
        """Options of ``down``: the monitoring stack leaves the pipeline's containers alone."""
        return [] if self.monitoring_only else ["--remove-orphans"]


def named(
    monitoring_only: MonitoringOnly = False, files: Files = None, project_dir: ProjectDir = None
) -> Stack:
    """The stack that the options name; docker is not called yet. Raises :class:`ConfigError`."""
    return Stack(_open(project_dir, files, monitoring_only), monitoring_only)


@shared_options("stack", named)
def reachable(stack: Stack) -> Stack:
    """The same, where an engine answers. Raises :class:`EngineError`."""
    find_engine(stack.compose.docker)
    return stack


@stack_app.command("up")
@shared_options("stack", named)
def up(no_build: NoBuild = False, wait_seconds: WaitSeconds = 600, *, stack: Stack) -> None:
    """Start everything, and wait until it is healthy.

    Prints where to find what. Checks first whether it can work: engine, compose, ports, memory,
    disk. Makes missing secrets. Replicas that were added stay.
    """
    with _ctrl_c():
        lines = start(stack.compose, os.environ, no_build=no_build, wait_seconds=wait_seconds)
    for line in lines:
        typer.echo(line)


@stack_app.command("down")
@shared_options("stack", reachable)
def down(*, stack: Stack) -> None:
    """Stop and remove the containers; data stays."""
    with _ctrl_c():
        stack.compose.run("down", *stack.orphans, everything=True)


@stack_app.command("destroy")
@shared_options("stack", reachable)
def destroy(yes: Yes = False, *, stack: Stack) -> None:
    """Remove containers and all their data. Asks first.

    Streams, ledger, points and metrics are gone then.
    """
    name = stack.compose.project().name
    if not yes:
        _confirm(name)
    with _ctrl_c():
        stack.compose.run("down", "--volumes", *stack.orphans, everything=True)


@stack_app.command("ps")
@shared_options("stack", reachable)
def ps(*, stack: Stack) -> None:
    """List the containers."""
    stack.compose.run("ps", "--all")


@stack_app.command("logs")
@shared_options("stack", reachable)
def logs(
    services: Services = None, follow: Follow = False, tail: Tail = None, *, stack: Stack
) -> None:
    """Show what the containers logged."""
    options = ["--follow"] if follow else []
    options += [] if tail is None else ["--tail", str(tail)]
    with _ctrl_c():
        stack.compose.run("logs", *options, *(services or ()))


@stack_app.command("build")
@shared_options("stack", reachable)
def build(services: Services = None, *, stack: Stack) -> None:
    """Build the images."""
    # Without the services of profiles: etlctl's image is influxdb-init's, and two builds of one tag
    # at a time can fail over its name.
    with _ctrl_c():
        stack.compose.run("build", *(services or ()))


@stack_app.command("pin")
@shared_options("stack", reachable)
def pin(output: Output = Path("docker-compose.pinned.yml"), *, stack: Stack) -> None:
    """Write a compose file with the digests of pulled images."""
    pins = find_pins(stack.compose.docker, json.loads(stack.compose.config()))
    for sentence in pins.left_out:
        remark(f"Left out: {sentence}")
    if not pins.images:
        raise ConfigError("no image has a digest: pull them first (docker compose pull SERVICE...)")
    try:
        output.write_text(pins.override(), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{output}: cannot be written: {error.strerror}") from None
    typer.echo(f"{output}: {len(pins.images)} services pinned; use it with --file {output}")


@stack_app.command("scale")
def scale(scales: Scales, files: Files = None, project_dir: ProjectDir = None) -> None:
    """Set how many replicas of a service run; others keep theirs.

    It is extractor, transformer or loader.
    """
    wanted = parse_scales(scales)
    compose = _open(project_dir, files, monitoring_only=False)
    engine = find_engine(compose.docker)
    existing = replicas(compose.containers())
    if not existing:
        raise ConfigError("nothing of the pipeline runs: start it with `etlctl stack up`")
    # Only these, whatever they depend on; without --wait, because one may be unhealthy already.
    with _ctrl_c(), suited(compose, engine, os.environ) as (runnable, _):
        runnable.run(
            *("up", "--detach", "--no-recreate", "--no-deps"),
            *scale_all(wanted, existing),
            *SCALABLE,
        )
    found = replicas(compose.containers())
    typer.echo(", ".join(f"{service} {found.get(service, 0)}" for service in SCALABLE))


@stack_app.command("restart-etl")
@shared_options("stack", reachable)
def restart_etl(wait_seconds: WaitSeconds = 120, *, stack: Stack) -> None:
    """Restart the ETL services, one container after the other.

    The others go on meanwhile.
    """
    services = set(stack.compose.project().services)
    found = [one for one in stack.compose.containers() if one.running and one.service in services]
    chosen = sorted(
        (one for one in found if one.service in RESTARTED),
        key=lambda one: (RESTARTED.index(one.service), one.name),
    )
    if not chosen:
        raise ConfigError("nothing to restart runs: start it with `etlctl stack up`")
    with _ctrl_c():
        restart_each(stack.compose.docker, chosen, wait_seconds, typer.echo)


@stack_app.command("reload")
@shared_options("stack", reachable)
def reload(timeout_seconds: TimeoutSeconds = DEFAULT_TIMEOUT_SECONDS, *, stack: Stack) -> None:
    """Have the services read etl.yaml again; wait until they have."""
    running = [one for one in stack.compose.containers() if one.running]
    readers = [one for one in running if one.service in READERS]
    if not readers:
        raise ConfigError("nothing to reload runs: start it with `etlctl stack up`")
    asked = stack.compose.docker.capture("kill", "--signal", "SIGHUP", *(one.id for one in readers))
    if asked.code != 0:
        raise ComposeFailed(f"SIGHUP cannot be sent: {asked.message}")
    raise typer.Exit(_inside(stack, "reload", "--timeout-seconds", str(timeout_seconds)))


@stack_app.command("status")
@shared_options("stack", reachable)
def status(*, stack: Stack) -> None:
    """Show whether everything runs and is healthy.

    Prints `etlctl status` of the stack, too.
    """
    containers = stack.compose.containers()
    if not containers:
        typer.echo("Nothing runs: start it with `etlctl stack up`.")
        raise typer.Exit(ExitCode.ERROR)
    project = stack.compose.project()
    table, all_well = report(project, containers)
    stdout().print(table)
    unheard = receiver_problems(project)
    for sentence in unheard:
        typer.echo(sentence)
    code = ExitCode.OK if all_well and not unheard else ExitCode.ERROR
    # Redis may be one elsewhere, and no service of the project.
    redis_is_away = "redis" in project.services and not any(
        one.service == "redis" and one.running for one in containers
    )
    has_pipeline = not stack.monitoring_only and not set(READERS).isdisjoint(project.services)
    if has_pipeline and not redis_is_away:
        code = code or _inside(stack, "status")
    raise typer.Exit(code)


def _inside(stack: Stack, *command: str) -> ExitCode:
    """Run etlctl in a container of the stack, where it reaches Redis."""
    terminal = [] if sys.stdout.isatty() else ["--no-TTY"]
    with _ctrl_c():
        code = stack.compose.show("run", "--rm", "--no-deps", *terminal, "etlctl", *command)
    return ExitCode(code) if code in set(ExitCode) else ExitCode.ERROR


def _open(project_dir: Path | None, files: list[Path] | None, monitoring_only: bool) -> Compose:
    folder = Path(os.path.abspath(project_dir)) if project_dir else CHECKOUT
    main = MONITORING_FILE if monitoring_only else MAIN_FILE
    chosen = compose_files(
        folder, Path.cwd(), files or (), os.environ, monitoring_only=monitoring_only
    )
    if not (folder / main).is_file() and "COMPOSE_FILE" not in os.environ:
        raise ConfigError(f"{folder}: holds no {main}: name the checkout with --project-dir")
    return Compose(Docker(folder), folder, chosen)


def has_terminal() -> bool:
    """Whether a person can answer a question."""
    return sys.stdin.isatty()


def _confirm(name: str) -> None:
    if not has_terminal():
        raise ConfigError("destroying asks first, and there is no terminal to ask on: give --yes")
    answer = typer.prompt(f"All data of {name} will be deleted. Type its name to go on", err=True)
    if answer != name:
        remark("Nothing was done.")
        raise typer.Exit(ExitCode.ERROR)


@contextmanager
def _ctrl_c() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        remark("Interrupted: what was started goes on running (etlctl stack ps).")
        raise typer.Exit(INTERRUPTED) from None
