"""The status page in a headless Chromium: it loads, updates, shows a fault and its recovery.

Chromium is no part of what the tests unpack (100 MB): without one on the machine these are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis

from common.state.keys import Keys
from common.state.workers import Workers
from devtools.screenshots.chromium import Chromium, Tab, found
from devtools.servers.redis_server import RedisServer
from devtools.servers.service_process import ServiceProcess
from tests.integration.exporter.page_world import PASSWORD, report, running_pipeline

PROGRAM = found()
pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine (Debian: chromium)"),
    pytest.mark.timeout(300),
]

KEYS = Keys("etl")
PLOTS, FOCUSED = "document.querySelectorAll('#plots svg')", "document.activeElement"
HOSTILE = "<img src=x onerror=\"document.title='taken'\"></script><script>alert(1)</script>"


@pytest.fixture
def server(make_redis: Callable[..., RedisServer]) -> RedisServer:
    return make_redis()


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with server.client() as client:
        running_pipeline(client, KEYS)
        yield client


@pytest.fixture
def exporter(
    server: RedisServer, client: redis.Redis, tmp_path: Path, log_dir: Path
) -> Iterator[ServiceProcess]:
    password = tmp_path / "password"
    password.write_text(PASSWORD, encoding="utf-8")
    password.chmod(0o600)
    environ = {
        "ETL_METRICS_REDIS_URL": server.plain_url,
        "ETL_METRICS_REDIS_POLL_SECONDS": "0.5",
        "ETL_METRICS_PASSWORD_FILE": str(password),
        "ETL_METRICS_RUNBOOK_URL": "https://git.example.com/docs/runbook.md",
    }
    process = ServiceProcess(
        "exporter",
        tmp_path / "exporter",
        log_dir=log_dir,
        environ=environ,
        environ_prefix="ETL_METRICS_",
    )
    with process:
        yield process


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    assert PROGRAM is not None
    with Chromium(PROGRAM, tmp_path / "chromium") as browser:
        yield browser


def address(exporter: ServiceProcess) -> str:
    """With the credentials in it, as a bookmark may have them."""
    credentials = f"prometheus:{quote(PASSWORD)}@"
    return exporter.url.replace("//", f"//{credentials}") + "/"


def verdict(tab: Tab, wanted: str) -> None:
    tab.wait_for(lambda one: wanted in one.text("#verdict"), f"a verdict with {wanted!r}")


def test_a_fault_and_its_recovery_without_an_error_on_the_console(
    browser: Chromium, exporter: ServiceProcess, server: RedisServer, client: redis.Redis
) -> None:
    tab = browser.open(address(exporter))
    verdict(tab, "All is well")
    assert "q" in tab.text("#feeds")
    tab.wait_for(lambda one: one.run(f"{PLOTS}.length == 4"), "plots")

    # What a worker says is text, whatever it says, and stands beside the way to the runbook.
    Workers(client, KEYS).report("loader-1", "loader", False, {"sink": HOSTILE})
    verdict(tab, "loader not ready")
    assert HOSTILE in tab.text("#findings")
    assert tab.run("document.querySelectorAll('main img, #findings script').length") == 0
    link = tab.run("document.querySelector('#findings a').href")
    assert link == "https://git.example.com/docs/runbook.md#etlhealthcheckfailed"
    assert tab.run("document.title") == "✗ etl status"
    report(client, KEYS)
    verdict(tab, "All is well")
    assert tab.run("document.getElementById('findings-section').hidden")

    server.kill()
    verdict(tab, "cannot be told: Redis cannot be read")
    assert tab.run("document.getElementById('stages-section').hidden")
    server.start()
    client.flushall()
    running_pipeline(client, KEYS)
    verdict(tab, "All is well")
    assert tab.errors == []


def test_an_exporter_that_is_away_is_said(browser: Chromium, exporter: ServiceProcess) -> None:
    tab = browser.open(address(exporter))
    verdict(tab, "All is well")
    exporter.pause()
    tab.wait_for(lambda one: "cannot be reached" in one.text("#connection"), "a banner")
    assert "may not be true any more" in tab.text("#connection")
    exporter.resume()
    tab.wait_for(lambda one: one.run("document.getElementById('connection').hidden"), "no banner")


@pytest.mark.parametrize("dark", [False, True])
def test_it_can_be_read_on_a_telephone_and_reached_by_keyboard(
    browser: Chromium, exporter: ServiceProcess, client: redis.Redis, dark: bool
) -> None:
    Workers(client, KEYS).report("loader-1", "loader", False, {"sink": HOSTILE * 3})
    tab = browser.open(address(exporter), width=360, height=700, dark=dark)
    verdict(tab, "loader not ready")
    tab.wait_for(lambda one: one.run(f"{PLOTS}.length == 4"), "plots")
    assert tab.run("document.documentElement.scrollWidth") <= 360
    ground = tab.run("getComputedStyle(document.documentElement).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") != dark

    reached = []
    for _ in range(12):
        tab.press("Tab")
        reached.append(tab.run(f"{FOCUSED}.getAttribute('role') || {FOCUSED}.localName"))
    assert reached[:5] == ["a", *["img"] * 4]
    assert {"region", "a"} <= set(reached[5:])
    tab.run("document.querySelector('#plots svg').focus()")
    tab.press("ArrowLeft")
    assert "UTC:" in tab.text("#plots .read")
    unnamed = "[...document.querySelectorAll('[role=img], [role=region], section')].filter("
    unnamed += "(one) => !one.getAttribute('aria-label') && !one.getAttribute('aria-labelledby'))"
    assert tab.run(f"{unnamed}.length") == 0
    assert tab.errors == []
