"""Plain HTTP towards our own servers: no proxy, a time-out always."""

from __future__ import annotations

from typing import Any

import requests

from common.errors import StackError

_TIMEOUT_SECONDS = 30.0


def session() -> requests.Session:
    """A session that ignores proxies from the environment: everything here is on loopback."""
    opened = requests.Session()
    opened.trust_env = False
    return opened


def missing_status(url: str, wanted: int = 200, **options: Any) -> str | None:
    """None if a GET of ``url`` answers with ``wanted``, else what came instead."""
    try:
        with session() as opened:
            response = opened.get(url, timeout=5.0, allow_redirects=False, **options)
    except requests.RequestException as error:
        return f"GET {url}: {type(error).__name__}"
    if response.status_code == wanted:
        return None
    return f"GET {url}: {response.status_code} {response.text.strip()[:300]}"


def get_json(url: str, **options: Any) -> Any:
    """The JSON of a GET; :class:`StackError` with the server's message for anything but 200."""
    try:
        with session() as opened:
            response = opened.get(url, timeout=_TIMEOUT_SECONDS, **options)
        if response.status_code != 200:
            raise StackError(f"GET {url}: {response.status_code} {response.text.strip()[:500]}")
        return response.json()
    except requests.RequestException as error:
        raise StackError(f"GET {url}: {error}") from error


def post_form(url: str, form: dict[str, str], **options: Any) -> Any:
    """The JSON of a POST of form fields; errors as :func:`get_json`."""
    try:
        with session() as opened:
            response = opened.post(url, data=form, timeout=_TIMEOUT_SECONDS, **options)
        if response.status_code != 200:
            raise StackError(f"POST {url}: {response.status_code} {response.text.strip()[:500]}")
        return response.json()
    except requests.RequestException as error:
        raise StackError(f"POST {url}: {error}") from error
