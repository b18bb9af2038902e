"""Label templates of relabel rules are judged in linear time."""

from __future__ import annotations

import pytest

from common.config.transform import LABEL_TEMPLATE


@pytest.mark.parametrize("text", ["a", "_b", "$1", "${name}_x", "a$12b", "$1$2", "x${1}y$3"])
def test_templates(text: str) -> None:
    assert LABEL_TEMPLATE.fullmatch(text)


@pytest.mark.parametrize(
    "text", ["", "1a", "$", "a$", "a$$", "a${b", "${}", "a-b", "$12" * 10_000 + "!"]
)
def test_no_templates_and_never_a_hang(text: str) -> None:
    assert not LABEL_TEMPLATE.fullmatch(text)
