"""A case: one folder with ``case.yaml``, ``etl.yaml`` and ``input.om``, read strictly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

FILES = frozenset({"case.yaml", "etl.yaml", "input.om"})

Counts = dict[str, PositiveInt]

# A name at the beginning of a line, or in braces and quotes as Prometheus 3 writes it.
_NAME = re.compile(r'^(?:([a-zA-Z_:][a-zA-Z0-9_:]*)|\{"((?:[^"\\]|\\.)+)"[,}])')
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class CaseError(Exception):
    """A folder that is no case; the message says which and why."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Ledger(_Strict):
    """What becomes of the samples. A reason that is not named is expected to have none."""

    extracted: PositiveInt
    loaded: NonNegativeInt
    dropped: Counts = {}
    dead_lettered: Counts = {}
    in_flight: NonNegativeInt = 0

    @model_validator(mode="after")
    def _balanced(self) -> Self:
        ends = self.loaded + sum(self.dropped.values()) + sum(self.dead_lettered.values())
        if self.extracted != ends + self.in_flight:
            raise ValueError(f"{self.extracted} are extracted, {ends + self.in_flight} accounted")
        return self


class Answer(_Strict):
    """What a stand-in says to a body that holds the text ``when`` (without it: to every body).

    ``keeps``: it has taken the points all the same.
    """

    status: Annotated[int, Field(ge=400, le=599)]
    message: str = Field(min_length=1)
    when: str = ""
    keeps: bool = False


class Behaviour(_Strict):
    """How the sink behaves during a step.

    ``settings`` are sections of influxdb.conf. The other keys are the stand-in's: ``answers``,
    whether our token is ``inactive`` or ``write-only``, how long the bucket keeps points though
    nobody told us, how large an inflated body may be, and the status it gives instead of a 422.
    """

    settings: dict[str, dict[str, str | int | bool]] = {}
    answers: tuple[Answer, ...] = Field((), strict=False)
    token: Literal["active", "inactive", "write-only"] = "active"
    retention_seconds: PositiveInt | None = None
    max_inflated_bytes: PositiveInt | None = None
    instead_of_422: PositiveInt | None = None


class Series(_Strict):
    """One series that the sink must hold: exactly these points, by time in ms."""

    measurement: str
    field: str = "value"
    tags: dict[str, str] = {}
    points: dict[int, float] = Field(min_length=1)


class Step(_Strict):
    """What is seen once nothing moves any more, with the sink behaving so.

    ``readable``: whether the loader can read what it writes, where that is the point.
    """

    sink: Behaviour = Behaviour()
    expect: Ledger
    verdict: Literal["equal", "nothing_to_compare", "explained", "incomplete", "different"]
    paused_by: str | None = Field(None, min_length=1)
    readable: bool | None = None
    holds: tuple[Series, ...] = Field((), strict=False)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.verdict == "incomplete") != (self.expect.in_flight > 0):
            raise ValueError("it is incomplete exactly if something is in flight")
        if (self.verdict == "incomplete") != (self.paused_by is not None):
            raise ValueError("paused_by is given exactly if it is incomplete")
        return self


class Description(_Strict):
    """``case.yaml``. ``before`` are lines (times in ms) that the sink holds from the start."""

    what: str = Field(min_length=20)
    report: str = Field(pattern=r"^[\w.-]+/[\w.-]+#[0-9]+$")
    sink: Literal["influxd", "influxdb2", "influxdb3"]
    before: tuple[str, ...] = Field((), strict=False)
    steps: tuple[Step, ...] = Field(min_length=1, strict=False)

    @model_validator(mode="after")
    def _known_to_the_sink(self) -> Self:
        for step in self.steps:
            of_stand_in = step.sink.model_fields_set - {"settings"}
            if self.sink == "influxd" and of_stand_in:
                raise ValueError(f"a real influxd has no {', '.join(sorted(of_stand_in))}")
            if self.sink != "influxd" and step.sink.settings:
                raise ValueError("only a real influxd has settings")
        return self


@dataclass(frozen=True)
class Case:
    """One folder. ``names`` are its metrics, ``first_ms`` and ``last_ms`` its samples' times."""

    slug: str
    description: Description
    config: dict[str, Any]
    openmetrics: str
    names: frozenset[str]
    first_ms: int
    last_ms: int


def read_case(folder: Path) -> Case:
    """The case in ``folder``. Raises :class:`CaseError`."""
    if not _SLUG.fullmatch(folder.name):
        raise CaseError(f"{folder.name}: a case is named by lower-case words and hyphens")
    there = {file.name for file in folder.iterdir()}
    if there != FILES:
        odd = ", ".join(sorted(there ^ FILES))
        raise CaseError(f"{folder.name}: missing or not part of a case: {odd}")
    try:
        description = Description.model_validate(_mapping(folder / "case.yaml"))
        config = _mapping(folder / "etl.yaml")
    except (ValueError, yaml.YAMLError) as error:
        raise CaseError(f"{folder.name}: {error}") from None
    text = (folder / "input.om").read_text(encoding="utf-8")
    if not text.endswith("# EOF\n"):
        raise CaseError(f"{folder.name}: input.om does not end with # EOF")
    samples = [line for line in text.splitlines() if line and not line.startswith("#")]
    if not samples:
        raise CaseError(f"{folder.name}: input.om holds no sample")
    times_ms = [round(float(line.rsplit(" ", 1)[1]) * 1000) for line in samples]
    names = frozenset(_name_in(folder.name, line) for line in samples)
    return Case(folder.name, description, config, text, names, min(times_ms), max(times_ms))


def read_cases(folder: Path) -> list[Case]:
    """All cases of a folder. Raises :class:`CaseError`, also when two share a metric."""
    beside = {"runner", "__pycache__"}
    folders = sorted(one for one in folder.iterdir() if one.is_dir() and one.name not in beside)
    cases = [read_case(one) for one in folders]
    owner: dict[str, str] = {}
    for case in cases:
        for name in sorted(case.names):
            if (other := owner.setdefault(name, case.slug)) != case.slug:
                raise CaseError(f"{case.slug}: {name} is a metric of {other} already")
    return cases


def openmetrics_of(cases: list[Case]) -> str:
    """The inputs of all cases as one file."""
    return "".join(case.openmetrics.removesuffix("# EOF\n") for case in cases) + "# EOF\n"


def _mapping(file: Path) -> dict[str, Any]:
    found = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{file.name} holds no mapping")
    return found


def _name_in(slug: str, line: str) -> str:
    found = _NAME.match(line)
    if found is None:
        raise CaseError(f"{slug}: no metric's name at the beginning of {line!r}")
    return found[1] or found[2]
