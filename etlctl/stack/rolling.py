"""Restarting containers one after the other, so that the others go on meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from etlctl.stack.docker import ComposeFailed, Docker
from etlctl.stack.project import Container
from etlctl.times import Clock

_POLL_SECONDS = 0.5
# Far longer than any stop_grace_period.
_RESTART_SECONDS = 600.0


def restart_each(
    docker: Docker,
    containers: Sequence[Container],
    wait_seconds: float,
    say: Callable[[str], None],
    clock: Clock = Clock(),
) -> None:
    """Restart each container and wait until it is healthy before the next one's turn.

    Each has its own stop_grace_period to finish its work. Raises :class:`ComposeFailed` for
    the first that does not come back; those after it were not touched.
    """
    for one in containers:
        say(f"{one.name}: restarting")
        ran = docker.capture("restart", one.id, deadline_seconds=_RESTART_SECONDS)
        if ran.code != 0:
            raise ComposeFailed(f"{one.name}: cannot be restarted: {ran.message}")
        _wait_until_well(docker, one, wait_seconds, clock)
        say(f"{one.name}: is back")


def _wait_until_well(
    docker: Docker, container: Container, wait_seconds: float, clock: Clock
) -> None:
    deadline = clock.monotonic() + wait_seconds
    while True:
        state = _state(docker, container)
        if state in ("running", "running healthy"):
            return
        if not state.startswith("running") or clock.monotonic() >= deadline:
            raise ComposeFailed(
                f"{container.name}: is {state} and not healthy after {wait_seconds:g} s; the "
                f"containers after it were not touched (etlctl stack logs {container.service})"
            )
        clock.sleep(_POLL_SECONDS)


def _state(docker: Docker, container: Container) -> str:
    """``running healthy``, ``exited``; only ``running`` without a health check."""
    form = "{{.State.Status}}{{if .State.Health}} {{.State.Health.Status}}{{end}}"
    ran = docker.capture("inspect", "--format", form, container.id)
    if ran.code != 0:
        raise ComposeFailed(f"{container.name}: cannot be inspected: {ran.message}")
    return ran.out.strip()
