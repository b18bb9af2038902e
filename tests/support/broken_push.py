"""An extractor that does not keep what its 204 says.

``python -m tests.support.broken_push HOW --config FILE``, where HOW is one of ``WAYS``.
"""

from __future__ import annotations

import runpy
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from common.state.keys import feed_of
from common.state.pushes import ACCOUNT, Pushed, PushedSamples
from devtools.servers.ports import free_port
from devtools.servers.service_process import ServiceProcess

# Much longer than it takes to read the ledger.
LATE_SECONDS = 1.0

_commit = PushedSamples.commit


def _early(self: PushedSamples, pushed: Sequence[Pushed]) -> str:
    """Answered first, committed later."""
    threading.Timer(LATE_SECONDS, _commit, (self, pushed)).start()
    return "committed"


def _dropped(self: PushedSamples, pushed: Sequence[Pushed]) -> str:
    """Counted as if they had come to the sink, and thrown away: the ledger balances."""
    with self._redis.pipeline() as pipe:
        for one in pushed:
            for what in ("extracted", "loaded"):
                field = f"{feed_of(one.feed.query, ACCOUNT)}|{what}"
                pipe.hincrby(self._keys.ledger, field, one.samples)
        pipe.execute()
    return "committed"


def _twice(self: PushedSamples, pushed: Sequence[Pushed]) -> str:
    _commit(self, pushed)
    return _commit(self, pushed)


WAYS = {"early": _early, "dropped": _dropped, "twice": _twice}


class BrokenExtractor(ServiceProcess):
    """Such a process, beside others of a pipeline; ``push_port`` is where it takes samples."""

    def __init__(self, how: str, config: Path, folder: Path) -> None:
        self._how = how
        self.push_port = free_port()
        super().__init__(
            "extractor",
            folder,
            config=config,
            name=f"extractor-{how}",
            environ={"ETL__EXTRACT__PUSH__PORT": str(self.push_port)},
        )

    def command(self) -> Sequence[str]:
        python, run, _, *arguments = super().command()
        return [python, run, __name__, self._how, *arguments]


if __name__ == "__main__":
    PushedSamples.commit = WAYS[sys.argv.pop(1)]  # type: ignore[method-assign]
    runpy.run_module("services.extractor", run_name="__main__", alter_sys=True)
