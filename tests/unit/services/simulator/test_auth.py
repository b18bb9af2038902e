"""Who may scrape: HTTP basic authentication, header by header."""

from __future__ import annotations

import base64

import pytest

from common.runtime.basic_auth import BasicAuth


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


GOOD = basic("prometheus:päss:word")


@pytest.mark.parametrize("header", [GOOD, GOOD.replace("Basic", "basic"), GOOD + " "])
def test_the_right_credentials_are_let_in(header: str) -> None:
    assert BasicAuth("prometheus", "päss:word").permits(header)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Basic",
        "Basic ",
        "Basic %%%",
        "Basic " + base64.b64encode(b"\xff\xfe").decode(),
        GOOD.removeprefix("Basic "),
        GOOD.replace("Basic", "Bearer"),
        basic("prometheus"),
        basic("prometheus:"),
        basic("prometheus:päss:wor"),
        basic("prometheus:päss:word "),
        basic("Prometheus:päss:word"),
        basic(":päss:word"),
        basic("päss:word:prometheus"),
    ],
)
def test_anything_else_is_not(header: str | None) -> None:
    assert not BasicAuth("prometheus", "päss:word").permits(header)
