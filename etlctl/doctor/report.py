"""What was looked at and what was found: a line for each, in sections."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from common.exit_codes import ExitCode
from etlctl.failures import is_expected, message_of

WIDTH_CHARS = 80
_INDENT_CHARS = 4


class Level(StrEnum):
    """How bad it is; only a failure stops samples, loses them or hides that."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Said:
    """What a check has to say: ``detail`` of what is, ``do`` of what to do about it."""

    level: Level
    detail: str
    do: str = ""


def ok(detail: str) -> Said:
    """All is well."""
    return Said(Level.OK, detail)


def warning(detail: str, do: str) -> Said:
    """It works, and may not be what is wanted."""
    return Said(Level.WARNING, detail, do)


def failure(detail: str, do: str = "") -> Said:
    """It does not work, or will not."""
    return Said(Level.FAILURE, detail, do)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check of a section said."""

    section: str
    check: str
    level: Level
    detail: str
    do: str


@dataclass
class Report:
    """Findings in the order in which they were made."""

    findings: list[Finding] = field(default_factory=list)

    def add(self, section: str, check: str, said: Said) -> None:
        """One more."""
        self.findings.append(Finding(section, check, said.level, said.detail, said.do))

    def check(
        self, section: str, check: str, look: Callable[[], Iterable[Said]], do: str = ""
    ) -> bool:
        """Take what ``look`` says; an error is a failure, to which ``do`` is the remedy.

        Whether there was none: where a server is away, the rest of its section makes no sense.
        """
        try:
            for said in look():
                self.add(section, check, said)
        # A defect of one check must not hide what the others find.
        except Exception as error:
            expected = is_expected(error)
            detail = message_of(error) if expected else f"{type(error).__name__}: {error}"
            unexpected = "this is a defect of the check: please report it"
            self.add(section, check, failure(detail, do if expected else unexpected))
            return False
        return True

    def count(self, level: Level) -> int:
        """How many findings there are of a level."""
        return sum(one.level is level for one in self.findings)

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "well": not self.count(Level.FAILURE),
            "failures": self.count(Level.FAILURE),
            "warnings": self.count(Level.WARNING),
            "findings": [asdict(one) for one in self.findings],
        }

    @property
    def exit_code(self) -> ExitCode:
        """Warnings alone need nobody."""
        return ExitCode.ERROR if self.count(Level.FAILURE) else ExitCode.OK

    def lines(self) -> Iterator[tuple[Level | None, str]]:
        """For people: each line with the level that it begins with, if any."""
        section = ""
        for one in self.findings:
            if one.section != section:
                section = one.section
                yield None, section
            head = f"  {one.level:<8} {one.check}: "
            first, *rest = _wrapped(f"{head}{one.detail}")
            yield one.level, first
            for line in (*rest, *(_wrapped(f"    → {one.do}") if one.do else ())):
                yield None, line
        yield None, self._sum()

    def _sum(self) -> str:
        failures, warnings = self.count(Level.FAILURE), self.count(Level.WARNING)
        if not failures and not warnings:
            return "All is well."
        found = (f"{failures} failures", f"{warnings} warnings")
        singular = (one.removesuffix("s") if one.startswith("1 ") else one for one in found)
        return f"{', '.join(singular)}."


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH_CHARS,
        subsequent_indent=" " * _INDENT_CHARS,
        break_on_hyphens=False,
    )
