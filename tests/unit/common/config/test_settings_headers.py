"""Headers for the sink: names, values, files; their values are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.config.model import effective
from tests.support.settings_files import EXTRACT, load, problems, secret_file


def given(more: str) -> str:
    return f"{EXTRACT}load:\n  influxdb:\n    {{url: 'http://i', org: o, bucket: b,\n    {more}}}\n"


def test_values_are_shown_masked_and_files_by_their_names(tmp_path: Path) -> None:
    file = secret_file(tmp_path, b"s3cret\n")
    text = given("headers: {X-Scope-OrgID: tenant-7}, header_files: {X-Key: secret}")

    settings = load(tmp_path, text)

    influxdb = settings.load.influxdb
    assert influxdb.headers["X-Scope-OrgID"].get_secret_value() == "tenant-7"
    assert influxdb.header_files == {"X-Key": str(file)}
    shown = effective(settings)["load"]["influxdb"]
    assert shown["headers"] == {"X-Scope-OrgID": "********"}
    assert "tenant-7" not in repr(settings)
    assert "s3cret" not in repr(effective(settings))


def test_a_variable_adds_to_them(tmp_path: Path) -> None:
    variable = {"ETL__LOAD__INFLUXDB__HEADERS": '{"X-Other": "b"}'}
    settings = load(tmp_path, given("headers: {X-One: a}"), variable)
    assert set(settings.load.influxdb.headers) == {"X-One", "X-Other"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("headers: s3cret", "headers: must be a mapping of names and values"),
        ("headers: {X-Org: [7]}", "headers.X-Org: must be text: put it in quotes"),
        ("headers: {X-Org: ''}", "headers.X-Org: must not be empty"),
        (
            "headers: {X-Org: '********'}",
            "headers.X-Org: is masked: give the value itself, or a file in header_files",
        ),
        ('headers: {X-Org: "s3c\\nret"}', "headers.X-Org: has characters that no HTTP header can"),
        ("headers: {'X Org': s3cret}", 'headers."X Org": is no name of an HTTP header'),
        (
            "headers: {Authorization: s3cret}",
            "headers.Authorization: is not set here: it takes load.influxdb.token, or username",
        ),
        ("headers: {Host: s3cret}", "headers.Host: is a header that the request itself needs"),
        ("headers: {X-A: s3cret, x-a: b}", "headers.x-a: is given twice: upper and lower case"),
        ("header_files: {X-A: none}", "header_files.X-A: names none, which cannot be read: No"),
        ("header_files: {X-A: [7]}", "header_files.X-A: must name a file"),
        ("header_files: [a]", "header_files: must be a mapping of names and files"),
        (
            "headers: {X-A: s3cret}, header_files: {x-a: secret}",
            "header_files.x-a: is given in headers, too: keep one of them",
        ),
        ("server_name: 'a b'", "server_name: must be an IP address or a host name"),
    ],
)
def test_what_no_request_could_carry_is_refused(tmp_path: Path, more: str, said: str) -> None:
    secret_file(tmp_path, b"well")

    (problem,) = problems(tmp_path, given(more))

    assert problem.startswith(f"etl.yaml:5: load.influxdb.{said}")
    assert "s3cret" not in problem


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (b"", 0o600, "names secret, which is empty"),
        (
            "wört".encode(),
            0o600,
            "names secret, whose content has characters that no HTTP header can",
        ),
        (b"s3cret", 0o644, "names secret, which every user can read (mode 0644): make it 0600"),
    ],
)
def test_a_file_is_held_to_what_every_secret_is(
    tmp_path: Path, content: bytes, mode: int, said: str
) -> None:
    secret_file(tmp_path, content, mode)
    text = given("header_files: {X-A: secret}")

    (problem,) = problems(tmp_path, text)

    assert problem.startswith(f"etl.yaml:5: load.influxdb.header_files.X-A: {said}")
    assert problems(tmp_path, text, secrets=("extract",)) == []  # who reads none need not mind
