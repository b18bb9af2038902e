"""The status page and its data over HTTP: ``/`` and ``/status.json``.

The page is one document without anything from elsewhere: style and script stand in it, and the
browser runs only what has their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from common.runtime.basic_auth import BasicAuth
from common.runtime.http_server import Request, Response, Route, error_response, json_response
from common.version import project_version
from services.exporter.page.links import Links

# Part of the page → what is known of it after a time, in seconds since the epoch.
Documents = Mapping[str, Callable[[float], dict[str, Any]]]

# The first one that there is judges the page as a whole.
PARTS = ("pipeline", "process")
_FOLDER = Path(__file__).parent
_GUARDED = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


def page_routes(documents: Documents, links: Links, auth: BasicAuth | None) -> dict[str, Route]:
    """Both paths, behind the credentials of /metrics."""
    html, policy = assembled()
    response = Response(
        HTTPStatus.OK,
        html,
        "text/html; charset=utf-8",
        headers={**_GUARDED, "Content-Security-Policy": policy},
    )

    def data(request: Request) -> Response:
        try:
            after_seconds = float(parse_qs(request.query).get("after", ["0"])[-1])
        except ValueError:
            after_seconds = -1.0
        if not (isfinite(after_seconds) and 0 <= after_seconds < 1e12):
            why = "after must be seconds since the epoch"
            return error_response(HTTPStatus.BAD_REQUEST, why, **_GUARDED)
        return json_response(HTTPStatus.OK, whole(documents, links, after_seconds), **_GUARDED)

    return {"/": Route(lambda _: response, auth=auth), "/status.json": Route(data, auth=auth)}


def whole(documents: Documents, links: Links, after_seconds: float) -> dict[str, Any]:
    """All parts, the verdict of the first one, and where each finding is explained."""
    parts = {name: documents[name](after_seconds) for name in PARTS if name in documents}
    for part in parts.values():
        for finding in part["findings"]:
            finding["runbook"] = links.runbook(finding["kind"])
    first = next(iter(parts.values()))
    return {
        "version": project_version(),
        "server_seconds": time.time(),
        "verdict": first["verdict"],
        "first_line": first["first_line"],
        "grafana_url": links.grafana_url,
        "runbook_url": links.runbook_url,
        **parts,
    }


def assembled() -> tuple[bytes, str]:
    """The page, and its Content-Security-Policy."""
    html = _FOLDER.joinpath("status.html").read_text(encoding="utf-8")
    allowed = {}
    for kind, mark in (("css", "/* status.css */"), ("js", "/* status.js */")):
        text = _FOLDER.joinpath(f"status.{kind}").read_text(encoding="utf-8")
        html = html.replace(mark, text)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        allowed[kind] = f"'sha256-{digest}'"
    policy = (
        f"default-src 'none'; style-src {allowed['css']}; script-src {allowed['js']};"
        " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    )
    return html.encode(), policy
