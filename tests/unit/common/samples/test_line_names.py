"""Names and values that InfluxDB cannot hold are mapped, and different ones stay different."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.samples.line_names import (
    escape_measurement,
    escape_tag,
    map_key,
    map_measurement,
    map_value,
    original,
)

# Text that is rich in what matters here, besides any text at all.
TEXT = st.one_of(
    st.text(alphabet='\\,= "#_␊␛＼\n\rat0;\x7f\u00a0\ufffd'),
    st.text(),
    st.from_regex(r"(label_|metric_)*(time|value|_.*|#.*)?", fullmatch=True),
)


@pytest.mark.parametrize(
    ("value", "mapped"),
    [
        ("plain", "plain"),
        ("GET /api/v1?a=b,c", "GET /api/v1?a=b,c"),
        ('with "quotes"', 'with "quotes"'),
        ("größe ☃ 東京", "größe ☃ 東京"),
        ("two\nlines", "two␊lines"),
        ("dos\r\n", "dos␍␊"),
        ("tab\t", "tab␉"),
        ("\x00\x1f\x7f", "␀␟␡"),
        ("\x1b[31m", "␛1b;[31m"),
        ("no\u00a0break", "no␛a0;break"),
        ("zero\u200bwidth", "zero␛200b;width"),
        ("line\u2028separator", "line␛2028;separator"),
        ("\U000e0001", "␛e0001;"),
        ("bad\ufffd", "bad␛fffd;"),
        ("a picture ␊", "a picture ␛240a;"),
        ("the mark ␛", "the mark ␛241b;"),
        ("fullwidth ＼", "fullwidth ␛ff3c;"),
        (r"C:\dir", r"C:\dir"),
        (r"\d+\.\d", r"\d+\.\d"),
        ("C:\\", "C:＼"),
        (r"a\,b", "a＼,b"),
        (r"a\=b", "a＼=b"),
        (r"Program\ Files", "Program＼ Files"),
        (r"\\server\share", r"＼\server\share"),
        ("\\\\", "＼＼"),
        ("\\\n", "\\␊"),
        ("#1", "#1"),
        ("_x", "_x"),
        ("time", "time"),
    ],
)
def test_values(value: str, mapped: str) -> None:
    assert map_value(value) == mapped


@pytest.mark.parametrize(
    ("key", "mapped"),
    [
        ("job", "job"),
        ("times", "times"),
        ("Time", "Time"),
        ("label_app", "label_app"),
        ("http.status_code", "http.status_code"),
        ("größe", "größe"),
        ("with space", "with space"),
        ("#x", "#x"),
        ("time", "label_time"),
        ("value", "label_value"),
        ("_field", "label__field"),
        ("_measurement", "label__measurement"),
        ("_value", "label__value"),
        ("_time", "label__time"),
        ("_", "label__"),
        ("label_time", "label_label_time"),
        ("label__field", "label_label__field"),
        ("label_label_value", "label_label_label_value"),
        ("label_", "label_label_"),
        ("", "label_"),
        ("a\\b", "a＼b"),
        ("a\\", "a＼"),
        ("_a\nb", "label__a␊b"),
    ],
)
def test_keys(key: str, mapped: str) -> None:
    assert map_key(key) == mapped


@pytest.mark.parametrize(
    ("name", "mapped"),
    [
        ("up", "up"),
        ("node:cpu:rate5m", "node:cpu:rate5m"),
        ("http.server.duration", "http.server.duration"),
        ("größe", "größe"),
        ("time", "time"),
        ("a=b", "a=b"),
        ("_internal", "metric__internal"),
        ("#comment", "metric_#comment"),
        ("metric_name", "metric_name"),
        ("metric__internal", "metric_metric__internal"),
        ("a\\b", "a＼b"),
        ("two\nlines", "two␊lines"),
    ],
)
def test_measurements(name: str, mapped: str) -> None:
    assert map_measurement(name) == mapped


def test_escapes() -> None:
    assert escape_measurement("a b,c=d") == r"a\ b\,c=d"
    assert escape_tag("a b,c=d") == r"a\ b\,c\=d"


MAPS: dict[str, Callable[[str], str]] = {
    "measurement": map_measurement,
    "key": map_key,
    "value": map_value,
}


@pytest.mark.parametrize("kind", MAPS)
@settings(max_examples=50)
@given(text=TEXT)
def test_every_mapping_can_be_undone(kind: str, text: str) -> None:
    """What can be undone for every text keeps all texts apart."""
    mapped = MAPS[kind](text)
    assert mapped.isprintable()
    assert "\ufffd" not in mapped
    assert unmapped(mapped, kind) == text


@given(text=TEXT)
def test_ordinary_text_is_left_alone(text: str) -> None:
    ordinary = re.sub(r"[^ -~]|\\", "", text)
    assert map_value(ordinary) == ordinary


def unmapped(text: str, kind: str) -> str:
    """The documented rules backwards."""
    prefix, reserved = _RESERVED[kind]
    if re.fullmatch(rf"(?:{prefix})+(?:{reserved})", text, re.DOTALL):
        text = text.removeprefix(prefix)
    return re.sub(
        r"␛([0-9a-f]+);|([␀-␟␡＼])",
        lambda match: chr(int(match[1], 16)) if match[1] else _BEHIND[match[2]],
        text,
    )


_RESERVED = {
    "measurement": ("metric_", "[_#].*|"),
    "key": ("label_", "time|value|_.*|"),
    "value": ("(?!)", ""),
}
_BEHIND = {chr(0x2400 + code): chr(code) for code in range(32)} | {"␡": "\x7f", "＼": "\\"}


@given(TEXT)
def test_what_was_mapped_can_be_told_again(text: str) -> None:
    assert original(map_value(text)) == text
    held = map_measurement(text)
    assert text in (original(held), original(held.removeprefix("metric_")))


@pytest.mark.parametrize(
    "text", ["\u241bd800;", "\u241b110000;", "\u241b41;", "\u241bFFFD;", "\u241b", "\u2420"]
)
def test_what_mapping_never_makes_stays_as_it_is(text: str) -> None:
    assert original(text) == text
