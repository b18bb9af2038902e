"""Which of the pipeline's alerts fire, as Prometheus says where it has the rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from common.config import ExtractSettings, Settings
from common.errors import EtlError

_PREFIX = "Etl"
# It fires always, and says nothing.
_WATCHDOG = "EtlWatchdog"
_TIMEOUT_SECONDS = 2.0
_MOST_BYTES = 16 << 20
# An older Prometheus takes no notice of the second.
_PATH = "api/v1/rules?type=alert&exclude_alerts=true"


@dataclass(frozen=True, slots=True)
class Alerts:
    """The names of those that fire; None where that cannot be known, and ``why``."""

    firing: Sequence[str] | None
    why: str = ""


def read_alerts(settings: Settings) -> Alerts:
    """Ask Prometheus; of several sources, or replicas, the first that has the rules."""
    found = Alerts(None)
    for one_source in settings.each_source:
        for extract in one_source.extract.each_replica:
            if found.firing is None:
                found = _asked(extract)
    return found


def _asked(extract: ExtractSettings) -> Alerts:
    """What it says; an answer that does not come within two seconds is none."""
    from common.source.http_session import source_session
    from common.source.transport import Transport

    with closing(Transport(extract.prometheus_url, source_session(extract))) as source:
        try:
            body = source.document(_PATH, _TIMEOUT_SECONDS, _MOST_BYTES)
        except EtlError as error:
            return Alerts(None, str(error))
    return Alerts(None, "Prometheus shows no rules") if body is None else alerts_of(body)


def alerts_of(body: bytes) -> Alerts:
    """What the response of ``/api/v1/rules`` says."""
    try:
        found = {
            (str(rule["name"]), rule["state"])
            for group in json.loads(body)["data"]["groups"]
            for rule in group["rules"]
            if str(rule["name"]).startswith(_PREFIX)
        }
    except (ValueError, LookupError, TypeError, RecursionError):
        return Alerts(None, "what Prometheus says of its rules is no list of them")
    if not found:
        return Alerts(None, "Prometheus does not have the pipeline's rules")
    firing = {name for name, state in found if state == "firing"}
    return Alerts(sorted(firing - {_WATCHDOG}))
