"""Basic authentication of one user."""

from __future__ import annotations

import base64

import pytest

from common.runtime.basic_auth import BasicAuth

AUTH = BasicAuth("prometheus", "open:säsame")


def header(text: str, scheme: str = "Basic") -> str:
    return f"{scheme} {base64.b64encode(text.encode()).decode()}"


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
def test_the_user_is_let_in(scheme: str) -> None:
    assert AUTH.permits(header("prometheus:open:säsame", scheme))


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic \xe4\xf6",
        "Basic /////w==",
        header("prometheus:open:säsame", "Bearer"),
        header("prometheus:wrong"),
        header("prometheus:"),
        header("prometheus"),
        header("Prometheus:open:säsame"),
        header(":open:säsame"),
        header("prometheus:open:säsame "),
    ],
)
def test_nobody_else_is(value: str | None) -> None:
    assert not AUTH.permits(value)


def test_an_empty_password_needs_its_colon() -> None:
    assert BasicAuth("u", "").permits(header("u:"))
    assert not BasicAuth("u", "").permits(header("u"))
