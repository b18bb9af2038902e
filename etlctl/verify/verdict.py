"""What a comparison proves, from the strongest statement to the gravest."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from common.errors import ConfigError
from common.exit_codes import ExitCode


class Verdict(StrEnum):
    """Equal: something was compared, and nothing is missing, extra or different."""

    EQUAL = "equal"
    NOTHING_TO_COMPARE = "nothing_to_compare"
    EXPLAINED = "explained"
    INCOMPLETE = "incomplete"
    DIFFERENT = "different"

    @property
    def words(self) -> str:
        """As a person reads it."""
        return self.replace("_", " ")


# What a service's exit code says already (ExitCode) is given no second meaning.
EXIT_CODES = {
    Verdict.EQUAL: int(ExitCode.OK),
    Verdict.DIFFERENT: int(ExitCode.ERROR),
    Verdict.EXPLAINED: 6,
    Verdict.INCOMPLETE: 7,
    Verdict.NOTHING_TO_COMPARE: 8,
}
# Equal needs no leave, and nothing excuses a difference without a reason.
ACCEPTABLE = (Verdict.EXPLAINED, Verdict.INCOMPLETE, Verdict.NOTHING_TO_COMPARE)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The gravest; equal if there is none."""
    return max(verdicts, key=list(Verdict).index, default=Verdict.EQUAL)


def parse_accepted(text: str) -> frozenset[Verdict]:
    """The verdicts in a list with commas. Raises :class:`~common.errors.ConfigError`."""
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in ACCEPTABLE]:
        raise ConfigError(
            f"--accept: {', '.join(map(repr, unknown))} cannot be accepted;"
            f" possible are {', '.join(ACCEPTABLE)}"
        )
    return frozenset(map(Verdict, names))
