"""How many replicas: given by a person, read from what runs, never reset unasked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from common.errors import ConfigError
from etlctl.stack.project import Container, Project

SCALABLE = ("extractor", "transformer", "loader")
MAX_REPLICAS = 100


def parse_scales(arguments: Sequence[str]) -> dict[str, int]:
    """``transformer=4`` … as numbers. Raises :class:`ConfigError` with a line for each mistake."""
    problems: list[str] = []
    scales: dict[str, int] = {}
    for argument in arguments:
        found = re.fullmatch(r"([^=]+)=(\d{1,9})", argument)
        if found is None:
            problems.append(f"{argument!r}: is not SERVICE=NUMBER, e.g. transformer=4")
        elif found[1] not in SCALABLE:
            problems.append(f"{argument!r}: only {', '.join(SCALABLE)} can be scaled")
        elif int(found[2]) > MAX_REPLICAS:
            problems.append(f"{argument!r}: more than {MAX_REPLICAS} replicas")
        elif found[1] in scales:
            problems.append(f"{argument!r}: {found[1]} is given twice")
        else:
            scales[found[1]] = int(found[2])
    if problems:
        raise ConfigError(*problems)
    return scales


def replicas(containers: Iterable[Container]) -> Counter[str]:
    """How many containers each scalable service has; one that crashed is still a replica."""
    return Counter(one.service for one in containers if one.service in SCALABLE)


def scale_all(wanted: Mapping[str, int], existing: Mapping[str, int]) -> list[str]:
    """Arguments that set every scalable service: compose resets the ones that are not named."""
    arguments: list[str] = []
    for service in SCALABLE:
        count = wanted.get(service, existing.get(service, 0))
        arguments += ["--scale", f"{service}={count}"]
    return arguments


def keep_scales(project: Project, existing: Mapping[str, int]) -> list[str]:
    """Arguments for ``up`` that keep replicas which were added to those in the files."""
    arguments: list[str] = []
    for service in SCALABLE:
        configured = project.services.get(service)
        if configured is not None and existing.get(service, 0) > configured.replicas:
            arguments += ["--scale", f"{service}={existing[service]}"]
    return arguments
