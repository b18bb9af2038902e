"""Faults of our own processes: killed, stopped, frozen."""

from __future__ import annotations

from collections.abc import Callable

from common.errors import StackError
from common.state.windows import Feed
from devtools.chaos.catching import catch_busy, leased_windows
from devtools.chaos.kinds import FaultContext, Kind
from devtools.chaos.oracle import RECOVERY_SECONDS
from devtools.chaos.rig import KEYS, LEASE_SECONDS
from devtools.servers.service_process import ServiceProcess
from devtools.servers.stack import PIPELINE

# A service drains in less; one that does not has not stopped cleanly.
STOP_SECONDS = 35.0


def kill_in_mid_batch(module: str) -> Callable[[FaultContext, int], int]:
    """kill -9 while the process provably holds work; it is started again."""

    def fire(context: FaultContext, times: int) -> int:
        for _ in range(times):
            victim = catch_busy(context.rig, module, context.rng)
            victim.kill()
            context.apart(longest_seconds=0.4)
            victim.start(wait=False)
            context.apart(longest_seconds=1.0)
        return times

    return fire


def sigterm(context: FaultContext, times: int) -> int:
    """SIGTERM to a process that is at work: it must end by itself, with 0, and is started again."""
    rig, rng = context.rig, context.rng
    for _ in range(times):
        victim = rig.pick(rng.choice(PIPELINE), rng)
        victim.start(wait=False)
        victim.wait_ready(60.0)
        context.apart(longest_seconds=0.5)
        _terminate(victim)
        victim.start(wait=False)
    return times


def _terminate(victim: ServiceProcess) -> None:
    victim.terminate()
    code = victim.wait(STOP_SECONDS)
    if code != 0:
        raise StackError(f"{victim.name} ended with {code} after SIGTERM: {victim.log_tail()}")


def freeze_past_lease(context: FaultContext, times: int) -> int:
    """SIGSTOP in mid-batch, until the lease has run out; then SIGCONT. One of each stage."""
    rig, rng = context.rig, context.rng
    done = 0
    while done < times:
        frozen = []
        try:
            for module in rng.sample(PIPELINE, k=min(len(PIPELINE), times - done)):
                process = catch_busy(rig, module, rng)
                frozen.append(process)
            context.apart(LEASE_SECONDS + 0.5, LEASE_SECONDS + 3.0)
        finally:
            for process in frozen:
                process.resume()
        done += len(frozen)
        context.apart(longest_seconds=0.5)
    return done


def hurt_verifier(context: FaultContext, times: int) -> int:
    """kill -9, SIGTERM, or SIGSTOP for a moment, at any time of its turn."""
    rig, rng = context.rig, context.rng
    for _ in range(times):
        victim = rig.pick("verifier", rng)
        victim.start(wait=False)
        victim.wait_ready(60.0)
        context.apart(longest_seconds=2.5)
        how = rng.choice(("kill", "terminate", "freeze"))
        if how == "kill":
            victim.kill()
            # As if it had run out: the next one would wait for that for two minutes.
            rig.redis.delete(KEYS.verify_lease)
        elif how == "terminate":
            _terminate(victim)
        else:
            victim.pause()
            context.apart(longest_seconds=2.0)
            victim.resume()
    rig.start_missing()
    return times


def zombie_extractor(context: FaultContext, times: int) -> int:
    """An extractor sleeps while its window is extracted, put back and extracted again.

    It wakes at a random moment of the second extraction or after it.
    """
    rig, rng = context.rig, context.rng
    for _ in range(times):
        zombie = catch_busy(rig, "extractor", rng)
        try:
            leased = leased_windows(rig.redis)

            def taken_over(leased: dict[tuple[str, str], dict[str, int]] = leased) -> bool:
                """All windows of that moment are committed, among them that of the sleeper."""
                feeds = rig.feeds()
                return all(
                    not any(
                        start < record["e"] and record["s"] < end
                        for start, end in (*feeds[feed].open, *feeds[feed].backlog)
                    )
                    for (feed, _), record in leased.items()
                )

            rig.until(
                taken_over,
                "another extractor takes the sleeper's windows over",
                # Alone it takes what is live first, and a tier's window after that.
                deadline_seconds=RECOVERY_SECONDS,
            )
            for (feed, _), record in leased.items():
                status = rig.feeds()[feed]
                query = next(q for q in rig.settings.extract.queries if q.name == status.query)
                rig.windows.reopen(
                    Feed(status.query, status.tier, query.kind, status.fingerprint),
                    record["s"],
                    record["e"],
                )
                context.epochs.repeat(feed, record["s"], record["e"])
            if rng.random() < 0.5:
                rig.until(
                    taken_over,
                    "the repaired windows are extracted again",
                    deadline_seconds=RECOVERY_SECONDS,
                )
            context.apart(longest_seconds=0.5)
        finally:
            zombie.resume()
    return times


KINDS = (
    Kind(
        "kill_extractor",
        "kill -9 of an extractor that holds a window",
        kill_in_mid_batch("extractor"),
        batch=7,
    ),
    Kind(
        "kill_transformer",
        "kill -9 of a transformer that holds entries",
        kill_in_mid_batch("transformer"),
        batch=7,
        expected_events=(("transformer", "entry_claimed"),),
    ),
    Kind(
        "kill_loader",
        "kill -9 of a loader that holds entries",
        kill_in_mid_batch("loader"),
        batch=7,
        expected_events=(("loader", "entry_claimed"),),
    ),
    Kind(
        "sigterm",
        "SIGTERM to a process at work, which must drain and end with 0",
        sigterm,
        batch=7,
        expected_events=(("extractor", "service_stopped"), ("loader", "service_stopped")),
    ),
    Kind(
        "sigstop",
        "SIGSTOP of a process that holds work, past its lease, then SIGCONT",
        freeze_past_lease,
        batch=7,
        expected_events=(
            ("extractor", "window_refused"),
            ("transformer", "settlement_refused"),
            # A loader that wakes up may notice before it settles; its entries were taken over.
            ("loader", "entry_claimed"),
        ),
    ),
    Kind(
        "hurt_verifier",
        "kill -9, SIGTERM or SIGSTOP of the verifier, at any time of its turn",
        hurt_verifier,
        batch=7,
        expected_events=(("verifier", "service_stopped"),),
    ),
    Kind(
        "zombie_extractor",
        "SIGSTOP of an extractor whose window is extracted, put back and extracted again meanwhile",
        zombie_extractor,
        batch=1,
        expected_events=(("extractor", "window_refused"),),
        slow="each waits for a lease to run out and for two more extractions",
    ),
)
