"""Which buckets the configuration asks for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from common.config import LoadSettings
from common.errors import ConfigError

MIN_RETENTION_SECONDS = 3600  # InfluxDB answers 500 to any less


@dataclass(frozen=True, slots=True)
class WantedBucket:
    """A bucket; ``retention_seconds`` None = as it is, and for ever where it has to be made."""

    name: str
    retention_seconds: int | None


def wanted_buckets(load: LoadSettings) -> tuple[WantedBucket, ...]:
    """The buckets of all tiers, in the order of the configuration.

    Raises :class:`ConfigError` with one line for each retention that InfluxDB does not take.
    """
    problems = list(_problems(load))
    if problems:
        raise ConfigError(*problems)
    return tuple(
        WantedBucket(
            tier.bucket,
            None if tier.retention_seconds is None else math.ceil(tier.retention_seconds),
        )
        for tier in load.tiers.values()
    )


def _problems(load: LoadSettings) -> Iterator[str]:
    for name, tier in load.tiers.items():
        seconds = tier.retention_seconds
        if seconds is not None and seconds < MIN_RETENTION_SECONDS:
            yield (
                f"load.tiers.{name}.retention: is {seconds:g} s, and InfluxDB keeps at least "
                f"{MIN_RETENTION_SECONDS} s (1h)"
            )
