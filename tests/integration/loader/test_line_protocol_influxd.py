"""What the transformer writes is what a real InfluxDB holds: names, tags, the bits of values."""

from __future__ import annotations

import gzip
import json
import math
import random
import struct
from typing import Any

import requests

from common.samples.series import Identity, SeriesEncoder
from common.state.verdict import Output, Settle
from devtools.servers.influx_server import InfluxServer
from services.transformer.transform import TransformHandler
from tests.support.samples import HARD_FLOATS, NOW_MS, batch_of, entry_of

NASTY_TEXTS = (
    *("plain", "a b", "a,b", "a=b", 'say "hi"', "'single'", "#hash", "_low", "time", "value"),
    *("C:\\", "C:\\dir", "a\\,b", "a\\=b", "a\\ b", "\\\\", "\\", " ", "  lead", "trail ", "="),
    *("a\nb", "a\rb", "\t", "\x00", "\x7f", "\x1b[0m", "\u00a0", "\u2028", "\ufffd", "größe", "☃"),
    *(
        "🎉",
        "␊",
        "␛",
        "＼",
        ",",
        ",,",
        "\\n",
        '"',
        '\\"',
        '\\ \\="',
        "{}",
        "$1",
        "%20",
        "/*x*/",
        ";",
    ),
)
# Series of one shape with these characters in every place where they could hurt.
HURTING = '\\\\\\,= "\n#_a'

Stored = dict[tuple[str, tuple[tuple[str, str], ...], int], int]


def label_sets() -> list[dict[str, str]]:
    sets = [{"__name__": "as_value", "v": text} for text in NASTY_TEXTS]
    sets += [{"__name__": "as_key", text: "x"} for text in NASTY_TEXTS]
    sets += [{"__name__": text, "k": "v"} for text in NASTY_TEXTS]
    rng = random.Random(5)

    def text() -> str:
        return "".join(rng.choices(HURTING, k=rng.randint(1, 6)))

    sets += [{"__name__": "mixed" + text(), text(): text(), text(): text()} for _ in range(400)]
    return sets


def written(influx: InfluxServer, database: str, output: Output) -> None:
    response = requests.post(
        f"{influx.url}/api/v2/write",
        params={"org": "o", "bucket": database, "precision": "ms"},
        data=output.payload,
        headers={"Content-Encoding": "gzip", "Content-Type": "text/plain"},
        timeout=20,
    )
    assert response.status_code == 204, response.text


def stored(influx: InfluxServer, database: str) -> Stored:
    """Every point of the database: measurement, tags and milliseconds → the bits of its value."""
    response = requests.get(
        f"{influx.url}/query",
        params={"db": database, "epoch": "ms", "q": "SELECT value FROM /.*/ GROUP BY *"},
        timeout=20,
    )
    body: dict[str, Any] = json.loads(response.text, parse_int=float)
    found: Stored = {}
    for series in body["results"][0].get("series", []):
        tags = tuple(sorted((key, value) for key, value in series["tags"].items() if value))
        for milliseconds, value in series["values"]:
            found[series["name"], tags, int(milliseconds)] = bits(value)
    return found


def bits(value: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


def test_influxdb_holds_exactly_what_was_meant(
    influx_server: InfluxServer, influx_database: str
) -> None:
    encoder = SeriesEncoder()
    expected: Stored = {}
    series = []
    for index, labels in enumerate(label_sets()):
        value = HARD_FLOATS[index % len(HARD_FLOATS)]
        samples = [(NOW_MS - 1, value), (NOW_MS, float(index)), (NOW_MS + 1, math.nan)]
        series.append((labels, samples))
        identity = encoder.identity("select", "q", json.dumps(labels).encode())
        assert isinstance(identity, Identity)
        tags = tuple(sorted(identity.tags.items()))
        expected[identity.measurement, tags, NOW_MS - 1] = bits(value)
        expected[identity.measurement, tags, NOW_MS] = bits(float(index))
    entry = entry_of(batch_of(series))
    (verdict,) = TransformHandler(encoder, clock=lambda: NOW_MS / 1000).handle([entry])
    assert isinstance(verdict, Settle)
    for output in verdict.outputs:
        written(influx_server, influx_database, output)

    found = stored(influx_server, influx_database)
    # influxd prints a negative zero as -0, which the JSON decoder above reads as a float.
    assert found == expected


def test_the_longest_key_that_is_sent_is_accepted(
    influx_server: InfluxServer, influx_database: str
) -> None:
    def verdict_on(value_chars: int) -> Settle:
        batch = batch_of([({"__name__": "up", "a": "x" * value_chars}, [(NOW_MS, 1.0)])])
        handler = TransformHandler(SeriesEncoder(), clock=lambda: NOW_MS / 1000)
        (verdict,) = handler.handle([entry_of(batch)])
        assert isinstance(verdict, Settle)
        return verdict

    longest = next(chars for chars in range(65_535, 0, -1) if verdict_on(chars).outputs)
    (output,) = verdict_on(longest).outputs
    written(influx_server, influx_database, output)
    ((_, tags, _),) = stored(influx_server, influx_database)
    assert tags == (("a", "x" * longest),)
    # One byte more, and InfluxDB refuses.
    longer = gzip.compress(gzip.decompress(output.payload).replace(b"a=x", b"a=xx"))
    response = requests.post(
        f"{influx_server.url}/api/v2/write",
        params={"org": "o", "bucket": influx_database, "precision": "ms"},
        data=longer,
        headers={"Content-Encoding": "gzip"},
        timeout=20,
    )
    assert response.status_code == 400
    assert "max key length exceeded" in response.text
