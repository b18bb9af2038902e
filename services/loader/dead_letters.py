"""Dead letters from lines: one letter for each cause, not one for each line."""

from __future__ import annotations

import re
from collections.abc import Iterable

from common.state.verdict import DeadLetter
from services.loader.isolate import Lines, Refusal
from services.loader.lines import text

REASONS = {
    Refusal.REJECTED: "rejected",
    Refusal.TOO_LARGE: "too_large",
    Refusal.FAILED: "sink_failure",
}

# Causes of one entry that are told apart; what goes beyond shares a letter.
MAX_CAUSES = 16
MAX_DETAIL_CHARS = 2000

_LINE = re.compile(r"unable to parse '.*?(?=': )", re.DOTALL)
_COUNT = re.compile(r" dropped=\d+")


def letters(lines: Lines) -> tuple[DeadLetter, ...]:
    """The refused lines of one entry, in their order, with the sink's words.

    A letter of one line has the words about it whole; lines refused in the same words, but for the
    line quoted and the number dropped, share a letter and those words.
    """
    found: dict[tuple[str, str], list[int]] = {}
    for index in sorted(lines.words):
        reason = REASONS[Refusal(lines.fate[index])]
        key = (reason, _cause(lines.words[index]))
        if key not in found and sum(1 for known, _ in found if known == reason) >= MAX_CAUSES - 1:
            key = (reason, "various causes")
        found.setdefault(key, []).append(index)
    return tuple(
        _letter(lines, reason, cause, indices) for (reason, cause), indices in found.items()
    )


def _letter(lines: Lines, reason: str, cause: str, indices: Iterable[int]) -> DeadLetter:
    refused = [lines.text[index] for index in indices]
    detail = lines.words[next(iter(indices))] if len(refused) == 1 else cause
    return DeadLetter(reason, detail[:MAX_DETAIL_CHARS], text(refused), len(refused))


def _cause(words: str) -> str:
    return _COUNT.sub("", _LINE.sub("unable to parse '…", words))
