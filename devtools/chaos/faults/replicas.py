"""Faults of the replicas of a source, in turn."""

from __future__ import annotations

from collections.abc import Callable

from common.errors import StackError
from devtools.chaos.kinds import FaultContext, Kind
from devtools.chaos.worlds.pair import PairRig
from devtools.servers.prometheus_server import PrometheusServer

READY_SECONDS = 120.0


def _rig(context: FaultContext) -> PairRig:
    if not isinstance(context.rig, PairRig):
        raise StackError("this source has no replicas")
    return context.rig


def in_turn(
    hurt: Callable[[FaultContext, str, PrometheusServer], None],
) -> Callable[[FaultContext, int], int]:
    """One replica after the other, each while the other scrapes and answers."""

    def fire(context: FaultContext, times: int) -> int:
        servers = list(_rig(context).servers.items())
        context.rng.shuffle(servers)
        for number in range(times):
            context.apart(longest_seconds=1.5)
            hurt(context, *servers[number % len(servers)])
        return times

    return fire


def _kill(context: FaultContext, name: str, server: PrometheusServer) -> None:
    server.kill()
    context.apart(0.5, 5.0)
    server.start(wait=False)
    server.wait_ready(READY_SECONDS)


def _stop(context: FaultContext, name: str, server: PrometheusServer) -> None:
    server.pause()
    try:
        context.apart(1.0, 6.0)
    finally:
        server.resume()


def _cut(context: FaultContext, name: str, server: PrometheusServer) -> None:
    proxies = context.rig.proxies
    proxies.send(name, "refuse")
    context.apart(1.0, 6.0)
    proxies.send(name, "listen")


def one_behind_the_other(context: FaultContext, times: int) -> int:
    """One is killed; as soon as it answers again, nobody reaches the other for a while.

    What is not loaded yet of the time in which the one was down only the other has.
    """
    rig = _rig(context)
    for _ in range(times):
        context.apart(longest_seconds=1.5)
        servers = list(rig.servers.items())
        context.rng.shuffle(servers)
        (_, killed), (cut, _) = servers
        killed.kill()
        context.apart(1.0, 4.0)
        killed.start(wait=False)
        killed.wait_ready(READY_SECONDS)
        rig.proxies.send(cut, "refuse")
        context.apart(2.0, 6.0)
        rig.proxies.send(cut, "listen")
    return times


def both_cut(context: FaultContext, times: int) -> int:
    """Nobody reaches either of them; both scrape."""
    rig = _rig(context)
    for _ in range(times):
        context.apart(longest_seconds=1.0)
        for name in rig.servers:
            rig.proxies.send(name, "refuse")
        context.apart(0.5, 4.0)
        for name in rig.servers:
            rig.proxies.send(name, "listen")
    return times


_AWAY = (("extractor", "replica_away"), ("extractor", "replica_back"))

KINDS = (
    Kind(
        "replica_kill",
        "kill -9 of one replica, then of the other; each is away for up to 5 s",
        in_turn(_kill),
        batch=4,
        expected_events=_AWAY,
    ),
    Kind(
        "replica_stopped",
        "SIGSTOP of one replica, then of the other, for 1 to 6 s",
        in_turn(_stop),
        batch=4,
        expected_events=_AWAY,
    ),
    Kind(
        "replica_cut",
        "one replica, then the other, refuses connections for 1 to 6 s, and goes on scraping",
        in_turn(_cut),
        batch=4,
        expected_events=_AWAY,
    ),
    Kind(
        "replica_kill_cut",
        "one replica killed; when it is back, the other, which has what it missed, refuses",
        one_behind_the_other,
        batch=2,
        expected_events=_AWAY,
    ),
    Kind("replicas_cut", "both replicas refuse connections", both_cut, batch=5),
)
