"""The page over HTTP: guarded, whole in one document, and nothing in it can be made to run."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from common.runtime.basic_auth import BasicAuth
from common.runtime.http_server import HttpServer
from devtools import PROJECT_ROOT
from services.exporter.page.links import ALERTS, Links
from services.exporter.page.process import process_document
from services.exporter.page.routes import assembled, page_routes, whole
from services.exporter.process import ProcessState
from services.exporter.series import Page

FOLDER = PROJECT_ROOT / "services" / "exporter" / "page"
HTML, POLICY = assembled()
CSS = (FOLDER / "status.css").read_text(encoding="utf-8")
SCRIPT = (FOLDER / "status.js").read_text(encoding="utf-8")


def log_page(**values: float) -> Page:
    page = Page()
    for name, value in {"log_up": 1.0, "health_status": 1.0, **values}.items():
        page.set(f"etl_{name}", value)
    return page


def unheard_page() -> Page:
    """The log is there, and empty."""
    page = Page()
    ProcessState(30.0).publish(page)
    page.set("etl_log_up", 1.0)
    return page


@pytest.fixture
def server() -> Iterator[HttpServer]:
    documents = {"process": lambda after: process_document(log_page())}
    auth = BasicAuth("prometheus", "open sesame")
    server = HttpServer("127.0.0.1", 0, page_routes(documents, Links(), auth))
    yield server
    server.close()


def ask(
    server: HttpServer, path: str, password: str | None = "open sesame"
) -> tuple[int, Any, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    headers = {}
    if password is not None:
        text = base64.b64encode(f"prometheus:{password}".encode()).decode()
        headers["Authorization"] = f"Basic {text}"
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/", "/status.json"])
def test_it_is_behind_the_password_of_the_metrics(server: HttpServer, path: str) -> None:
    for password in (None, "wrong"):
        status, headers, body = ask(server, path, password)
        assert status == 401
        assert headers["WWW-Authenticate"].startswith("Basic ")
        assert b"verdict" not in body
    assert ask(server, path)[0] == 200


def test_only_our_style_and_script_run(server: HttpServer) -> None:
    _, headers, body = ask(server, "/")
    policy = headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none';")
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), body, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_nothing_comes_from_elsewhere() -> None:
    text = HTML.decode()
    assert "//" not in re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.DOTALL)
    assert not re.search(r"(?:src|url|@import)\s*[=(]", text.replace("url ? link(", ""))
    assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]


def test_what_comes_from_the_server_is_never_html() -> None:
    for way in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function("):
        assert way not in SCRIPT
    assert not re.search(r"<[^>]+ (?:on\w+|style)=", HTML.decode())


@pytest.mark.parametrize("after", ["x", "-1", "nan", "inf", "1e99"])
def test_a_time_that_is_none_is_refused(server: HttpServer, after: str) -> None:
    status, _, body = ask(server, f"/status.json?after={after}")
    assert status == 400
    assert json.loads(body) == {"error": "after must be seconds since the epoch"}


# -- what is said -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "verdict", "said"),
    [
        (log_page(), "well", "All is well: the ETL process is healthy."),
        (log_page(health_status=0), "needs_person", "Not all is well"),
        (log_page(log_up=0), "cannot_tell", "cannot be told: the log of the ETL process"),
        (None, "cannot_tell", "cannot be told"),
        # Just started: an empty log is no fault until it was silent for too long.
        (unheard_page(), "cannot_tell", "cannot be told: the ETL process has written nothing yet"),
    ],
)
def test_a_process_without_a_pipeline(page: Page | None, verdict: str, said: str) -> None:
    found = whole({"process": lambda after: process_document(page)}, Links(), 0)
    assert found["verdict"] == verdict
    assert said in found["first_line"]
    assert bool(found["process"]["findings"]) == (verdict != "well")


def test_links_lead_to_the_runbook() -> None:
    docs = Links(runbook_url="https://git.example.com/runbook.md", grafana_url="http://g:3000/")
    assert docs.runbook("not_running") == {
        "section": "EtlStageDown",
        "url": "https://git.example.com/runbook.md#etlstagedown",
    }
    grafana = Links(grafana_url="http://g:3000/").runbook("not_running")
    assert grafana["url"] == "http://g:3000/d/etl-runbook"
    assert Links().runbook("not_running")["url"] is None


def test_every_finding_has_a_section_of_the_runbook() -> None:
    runbook = (PROJECT_ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^## (Etl\w+)$", runbook, re.MULTILINE))
    assert set(ALERTS.values()) <= sections
    code = [
        *(PROJECT_ROOT / "common" / "state" / "status").glob("findings.py"),
        *FOLDER.glob("*.py"),
    ]
    text = "".join(file.read_text(encoding="utf-8") for file in code)
    kinds = set(re.findall(r'(?:Finding|_unknown|_judged)\([^)]*?"([a-z]+_?[a-z_]*)"', text))
    assert {"not_running", "not_ready", "redis_unreadable"} <= kinds
    assert kinds - {"cannot_tell", "needs_person"} <= ALERTS.keys()


# -- who can read it --------------------------------------------------------------------------


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast_is_that_of_wcag_aa(scheme: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", blocks[scheme]))
    for ground in ("page", "card"):
        for text in ("text", "quiet", "link", "good", "warn", "bad"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for drawn in ("first", "second"):
            assert contrast(colours[drawn], colours[ground]) >= 3, (drawn, ground)
