"""``etlctl reload``: a changed etl.yaml comes into force in every worker, or who refuses it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.config import config_path, file_digest, load_settings
from common.errors import EtlError
from common.state.status.findings import SERVICES
from common.state.workers import WorkerReport, Workers
from etlctl.connect import redis_of
from etlctl.options import AsJson, ConfigFile
from etlctl.output import print_json, stdout
from etlctl.reload_options import DEFAULT_TIMEOUT_SECONDS, TimeoutSeconds
from etlctl.run.folder import data_folder, owner_of

_POLL_SECONDS = 0.5


class NotReloaded(EtlError):
    """Not every worker has the configuration."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Which workers have the file as it is, refuse it, or have another yet.

    ``missing``: by service, how many that should run have said nothing.
    """

    has_it: Sequence[WorkerReport]
    refuses: Sequence[WorkerReport]
    waits: Sequence[WorkerReport]
    missing: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, alive: Sequence[WorkerReport], wanted: str, before: Counter[str]) -> Outcome:
        """What the workers say; ``before`` is how many of each service should run."""
        has_it = [one for one in alive if one.config == wanted]
        refuses = [one for one in alive if one.refused and one.read == wanted != one.config]
        known = {one.worker for one in (*has_it, *refuses)}
        missing = before - Counter(one.service for one in alive)
        return cls(has_it, refuses, [one for one in alive if one.worker not in known], missing)

    @property
    def is_final(self) -> bool:
        """Whether waiting changes nothing any more."""
        return not self.waits and not self.missing

    def problems(self) -> list[str]:
        """A sentence for each worker that does not have it."""
        return [
            *(
                f"{one.worker} refuses it: {'; '.join(one.refused.splitlines())}"
                for one in self.refuses
            ),
            *(
                f"{one.worker} has another file yet: does it see this one? (Docker goes on showing"
                " a mounted single file that was replaced instead of written: make the container"
                " anew)"
                for one in self.waits
            ),
            *(
                f"{service}: {count} that should run is not heard of (etlctl status)"
                for service, count in self.missing.items()
            ),
        ]

    def document(self) -> dict[str, Any]:
        """As plain data."""
        states = (("in_force", self.has_it), ("refused", self.refuses), ("waiting", self.waits))
        return {
            "reloaded": not self.problems(),
            "workers": [
                {
                    "worker": one.worker,
                    "service": one.service,
                    "state": state,
                    "refused": one.refused or None,
                }
                for state, workers in states
                for one in workers
            ],
            "missing": dict(self.missing),
        }


def reload(
    config: ConfigFile = None,
    timeout_seconds: TimeoutSeconds = DEFAULT_TIMEOUT_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Have the services read etl.yaml again; wait until they have.

    Ends with 1 when a worker refuses it or does not have it in time, and with 2 when it is not
    valid: then nobody is asked.
    """
    file = config_path(config)
    settings = load_settings(file, secrets=("pipeline",))
    wanted = file_digest(file)
    redis, keys = redis_of(settings.pipeline)
    with closing(redis):
        workers = Workers(redis, keys)
        # Who has noticed the file already may be away for a moment: a pipeline has one of each.
        before = Counter(SERVICES) | Counter(one.service for one in workers.alive())
        _ask(file)
        outcome = wait(workers.alive, wanted, before, timeout_seconds)
    if as_json:
        print_json({"file": str(file), "config": wanted, **outcome.document()})
    if problems := outcome.problems():
        raise NotReloaded("\n".join(problems))
    if not as_json:
        by_service = Counter(one.service for one in outcome.has_it)
        who = ", ".join(f"{service} {count}" for service, count in sorted(by_service.items()))
        stdout().print(f"{file} is in force ({who}).", markup=False)


def wait(
    alive: Callable[[], Sequence[WorkerReport]],
    wanted: str,
    before: Counter[str],
    timeout_seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Look until it is known of every worker, or the time is over."""
    deadline = clock() + timeout_seconds
    while True:
        outcome = Outcome.of(alive(), wanted, before)
        if outcome.is_final or clock() >= deadline:
            return outcome
        sleep(_POLL_SECONDS)


def _ask(file: Path) -> None:
    """Whoever is not asked notices within seconds by itself."""
    if (owner := owner_of(data_folder(file))) is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(owner, signal.SIGHUP)
