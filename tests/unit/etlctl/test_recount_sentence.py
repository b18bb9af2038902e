"""What ``etlctl recount`` says at its end."""

from __future__ import annotations

import pytest

from etlctl.verify.recount import Recounted, _last_sentence

DIFFERS = Recounted("raw", "hot", 0, [(0, 1)])
EQUAL = Recounted("raw", "hot", 0, [])


@pytest.mark.parametrize(
    ("found", "repair", "repaired", "sentence"),
    [
        (DIFFERS, False, False, "--repair extracts them."),
        (DIFFERS, True, True, "Not all of it could be repaired;"),
        (DIFFERS, True, False, "Not all of it could be repaired;"),
        (EQUAL, True, True, "Repaired: nothing differs now."),
        (EQUAL, True, False, "Nothing differs."),
    ],
)
def test_nobody_who_gave_it_is_told_to_give_repair(
    found: Recounted, *, repair: bool, repaired: bool, sentence: str
) -> None:
    assert sentence in _last_sentence([found], repair=repair, repaired=repaired)
