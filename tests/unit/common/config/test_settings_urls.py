"""Several URLs of one sink."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.settings_files import EXTRACT, load, problems


def given(keys: str) -> str:
    return f"{EXTRACT}load:\n  influxdb:\n    {{org: o, bucket: b,\n    {keys}}}\n"


@pytest.mark.parametrize(
    ("keys", "urls"),
    [
        ("url: 'http://a'", ("http://a",)),
        ("urls: ['http://a/', 'http://b']", ("http://a", "http://b")),
        ("url: 'http://a', urls: ['http://a', 'http://b']", ("http://a", "http://b")),
        ("url: 'http://a', urls: []", ("http://a",)),
    ],
)
def test_the_first_is_the_url(tmp_path: Path, keys: str, urls: tuple[str, ...]) -> None:
    influxdb = load(tmp_path, given(keys)).load.influxdb
    assert influxdb.url == "http://a"
    assert influxdb.all_urls == urls


def test_a_variable_may_name_them(tmp_path: Path) -> None:
    variable = {"ETL__LOAD__INFLUXDB__URLS": '["http://a", "http://b"]'}
    influxdb = load(tmp_path, given("timeout_seconds: 5"), variable).load.influxdb
    assert influxdb.all_urls == ("http://a", "http://b")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("urls: []", "url: is missing"),
        ("urls: 'http://a'", "urls: must be a list"),
        ("urls: [a]", "urls[0]: must begin with http:// or https://"),
        ("urls: ['http://a', 7]", "urls[1]: must be text: put it in quotes"),
        ("urls: ['http://u:s3cret@a']", "urls[0]: must not carry credentials"),
        ("urls: ['http://a', 'http://a/']", "urls: has a URL twice"),
        ("urls: ['http://a', 'https://b']", "urls: must all begin with http:// or all with"),
        (
            "url: 'http://b', urls: ['http://a', 'http://b']",
            "url: is not the first of urls: give one of both",
        ),
        (
            "urls: ['http://a'], return_to_first_seconds: 0",
            "return_to_first_seconds: must be greater than 0, not 0",
        ),
    ],
)
def test_what_is_no_list_of_one_sinks_urls_is_refused(tmp_path: Path, keys: str, said: str) -> None:
    found = problems(tmp_path, given(keys))
    assert any(f"load.influxdb.{said}" in problem for problem in found), found
    assert len(found) == 1
    assert "s3cret" not in found[0]
