"""The labels that Prometheus adds to what it sends, as its configuration shows them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import yaml

from common.errors import SourceUnavailable

# How long its configuration is taken for what it was, where it does not say when it was loaded.
KEPT_SECONDS = 60.0

# As Prometheus writes its configuration: a key of the document's ``global``, and what is in it.
# Of a text of several lines some may be empty.
_EXTERNAL = re.compile(r"^  external_labels:\n((?:(?:    .*)?\n)+)", re.MULTILINE)


@dataclass
class ExternalLabels:
    """Those of one server, whose configuration is read again once it was loaded anew.

    ``run`` tells what is another after each restart and each reload (None if it does not report
    that), ``config`` the body of ``/api/v1/status/config``. Both may raise source errors.
    """

    run: Callable[[], object | None]
    config: Callable[[], bytes]
    clock: Callable[[], float] = time.monotonic
    _labels: Mapping[str, str] = field(default_factory=dict, init=False)
    _of_run: object | None = field(default=None, init=False)
    _read_at: float = field(default=float("-inf"), init=False)

    def __call__(self) -> Mapping[str, str]:
        """Raises :class:`SourceUnavailable` where it does not show its configuration."""
        run, now = self.run(), self.clock()
        is_same = run == self._of_run if run is not None else now - self._read_at < KEPT_SECONDS
        if not is_same:
            labels = external_labels_of(self.config())
            if labels is None:
                raise SourceUnavailable("Prometheus does not show /api/v1/status/config")
            self._labels, self._of_run, self._read_at = labels, run, now
        return self._labels


def external_labels_of(config: bytes) -> Mapping[str, str] | None:
    """From the body of ``/api/v1/status/config``; None where it is not as Prometheus has it."""
    try:
        found = _EXTERNAL.search(json.loads(config)["data"]["yaml"])
        # This loader takes all for texts, whatever a value looks like.
        labels = yaml.load(found[1], Loader=yaml.BaseLoader) if found else {}  # noqa: S506
    except (ValueError, KeyError, TypeError, RecursionError, yaml.YAMLError):
        return None
    return labels if isinstance(labels, dict) else None
