"""``etlctl simulate`` against the simulator's own HTTP."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from prometheus_client import CollectorRegistry

from common.runtime.basic_auth import BasicAuth
from common.runtime.etl_log import Scenario
from common.runtime.http_server import HttpServer
from etlctl.__main__ import main
from services.simulator.pages import Pages
from services.simulator.scenarios import REQUESTS
from tests.support.answering_server import AnsweringServer, reply
from tests.support.captured_log import CapturedLog
from tests.support.simulator_world import World

Capture = pytest.CaptureFixture[str]
PASSWORD = "pässword"


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def url(world: World) -> Iterator[str]:
    pages = Pages(
        CollectorRegistry(),
        lambda: None,
        lambda: None,
        world.process.in_force,
        lambda request: world.process.switch(request.scenario, request.for_seconds),
        CapturedLog(),
    )
    server = HttpServer("127.0.0.1", 0, pages.routes(BasicAuth("prometheus", PASSWORD)))
    yield f"http://127.0.0.1:{server.port}"
    server.close()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs: with a password, without settings, behind a proxy that is none."""
    for name in os.environ:
        if name.startswith("SIMULATOR_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.chdir(tmp_path)
    secret(tmp_path / "secrets" / "simulator_password", PASSWORD)
    return tmp_path


def secret(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
    path.chmod(mode)
    return path


def run(capsys: Capture, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(("simulate", *arguments))
    said = capsys.readouterr()
    code = caught.value.code
    return (code if isinstance(code, int) else 0), said.out, said.err


@pytest.mark.parametrize(("name", "scenario"), REQUESTS.items())
def test_switches_every_scenario(
    url: str, world: World, capsys: Capture, name: str, scenario: Scenario
) -> None:
    code, out, err = run(capsys, name, "--url", url)
    assert (code, err) == (0, "")
    assert out == f"{scenario}: since 2027-01-15T08:00:00.000Z, until another request\n"
    assert world.process.in_force().scenario == scenario


def test_for_a_while_and_back(url: str, world: World, capsys: Capture) -> None:
    _, out, _ = run(capsys, "outage", "--for", "10m", "--url", f"{url}/")
    assert out == "outage: since 2027-01-15T08:00:00.000Z, until 2027-01-15T08:10:00.000Z\n"
    world.run(300)
    _, out, _ = run(capsys, "--url", url, "--json")
    assert json.loads(out) == {
        "scenario": "outage",
        "since": "2027-01-15T08:00:00.000Z",
        "until": "2027-01-15T08:10:00.000Z",
        "remaining_seconds": 300.0,
    }
    world.run(301)
    _, out, _ = run(capsys, "--url", url)
    assert out.startswith("normal: since 2027-01-15T08:10:00")


def test_the_environment_says_where_and_who(
    url: str, folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMULATOR_URL", url)
    assert run(capsys)[0] == 0
    monkeypatch.setenv("SIMULATOR_PASSWORD_FILE", str(secret(folder / "other", "wrong")))
    assert run(capsys)[0] == 3
    monkeypatch.delenv("SIMULATOR_PASSWORD_FILE")
    monkeypatch.setenv("SIMULATOR_USERNAME", "nobody")
    assert run(capsys)[0] == 3


def test_the_wrong_password_is_reported_as_such(url: str, folder: Path, capsys: Capture) -> None:
    file = secret(folder / "other", "wrong")
    code, out, err = run(capsys, "outage", "--url", url, "--password-file", str(file))
    assert (code, out) == (3, "")
    assert err == f"etlctl: the simulator at {url} refuses user name and password (401)\n"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("flood",), "scenario: 'flood' is none of outage, stall"),
        (("normal",), "'normal' is none of"),
        (("slow", "--for", "soon"), "for: 'soon' is not a duration"),
        (("slow", "--for", "0"), "for: '0' is not between"),
        (("recover", "--for", "5m"), "for: recover lasts"),
        (("--for", "5m"), "--for needs a scenario"),
        (("slow", "--url", "simulator:8000"), "--url: simulator:8000: "),
        (("slow", "--url", "http://"), "--url: http://: "),
        (("slow", "--ca-file", "none.pem"), "--ca-file: none.pem is no file"),
        (("slow", "--password-file", "none"), "--password-file: names none, which cannot be read"),
    ],
)
def test_bad_arguments_are_one_line_and_nothing_is_sent(
    capsys: Capture, arguments: tuple[str, ...], why: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("etlctl: ")
    assert why in err
    assert err.count("\n") == 1


def test_a_password_that_everybody_can_read_is_refused(folder: Path, capsys: Capture) -> None:
    secret(folder / "secrets" / "simulator_password", PASSWORD, 0o644)
    code, _, err = run(capsys, "slow")
    assert code == 2
    assert "secrets/simulator_password, which every user can read (mode 0644)" in err


def test_without_a_password_it_names_where_one_was_expected(folder: Path, capsys: Capture) -> None:
    (folder / "secrets" / "simulator_password").unlink()
    code, _, err = run(capsys, "slow")
    assert code == 2
    assert "neither /run/secrets/simulator_password nor secrets/simulator_password" in err


def test_nobody_there_is_one_line(capsys: Capture) -> None:
    code, out, err = run(capsys, "slow", "--url", "http://127.0.0.1:1")
    assert (code, out) == (3, "")
    assert err == (
        "etlctl: the simulator at http://127.0.0.1:1 cannot be reached:"
        " [Errno 111] Connection refused\n"
    )


def test_nobody_there_is_a_document_too(capsys: Capture) -> None:
    code, out, err = run(capsys, "--url", "http://127.0.0.1:1", "--json")
    assert code == 3
    said = json.loads(out)
    assert said["exit_code"] == 3
    assert err == "".join(f"etlctl: {problem}\n" for problem in said["problems"])


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (200, b"<html>", "answers 200: this is not the simulator's HTTP"),
        (200, b"{}", "answers 200: this is not the simulator's HTTP"),
        (200, b"[1]", "answers 200: this is not the simulator's HTTP"),
        (302, b"", "answers 302: this is not the simulator's HTTP"),
        (404, b'{"error": "not found"}', "answers 404: not found"),
        (400, b'{"error": "for: too long"}', "answers 400: for: too long"),
        (503, b'"down"', "answers 503: this is not the simulator's HTTP"),
    ],
)
def test_another_server_at_that_address_is_reported_too(
    capsys: Capture, status: int, body: bytes, why: str
) -> None:
    with AnsweringServer(reply(body, status, {"Location": "http://127.0.0.1:1/"})) as server:
        code, out, err = run(capsys, "slow", "--url", server.url)
    assert (code, out) == (3, "")
    assert err == f"etlctl: the simulator at {server.url} {why}\n"


def test_https_is_trusted_by_its_authority_only(folder: Path, capsys: Capture) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    body = b'{"scenario": "slow", "since": "x", "until": null, "remaining_seconds": null}'
    with AnsweringServer(reply(body), context) as server:
        code, out, _ = run(capsys, "slow", "--url", server.url, "--ca-file", "ca.pem")
        assert (code, out) == (0, "slow: since x, until another request\n")
        code, _, err = run(capsys, "slow", "--url", server.url)
    assert code == 3
    assert "certificate verify failed" in err
