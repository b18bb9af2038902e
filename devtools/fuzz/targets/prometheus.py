"""Bodies of Prometheus: the fast decoder, the plain one, and an ordinary JSON parser agree."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, NoReturn

import msgspec

from common.errors import SourceError
from common.samples.columns import Samples
from devtools.fuzz.mutate import Mutator
from devtools.fuzz.target import Target, require
from services.extractor.source.decode import decode, decode_value

# Label set, seconds in ms, bits of the value.
Sample = tuple[bytes, int, bytes]

_LABEL_SETS = (
    b'{"__name__":"up","job":"a"}',
    b"{}",
    b'{"a":"\\",\\"values\\":[[1,\\"1\\"]]},{\\"metric\\":{"}',
    b'{"a":"]]}","b":"\\\\"}',
    '{"größe":"é漢🙂\u2028"}'.encode(),
    b'{"a":"\\u00e9\\ud83d\\ude42\\n"}',
    b'{"metric":"values","values":"[[","histograms":"x"}',
    b'{ "a" : "b" }',
)
_VALUES = ("1", "0", "-0", "0.1", "NaN", "+Inf", "-Inf", "1e+21", "5e-324", "1700000000", "1e-7")
_HISTOGRAM = b'[1.5,{"count":"3","sum":"1.5","buckets":[[0,"0.5","1","2"],[3,"-1","1","1"]]}]'
_TAILS = (
    b"]}}\n",
    b']},"infos":["PromQL info: x"]}',
    b']},"warnings":["PromQL warning: x"]}',
    b'],"stats":{}}}',
    b']},"warnings":["some store did not answer"]}',
    b']},"warnings":"x"}',
    b']},"isPartial":true}',
    b']},"status":"error","errorType":"timeout"}',
    b'],"resultType":"vector"}}',
)
TOKENS = (
    *(b'{"metric":', b',"values":[[', b'"]]}', b'"],[', b'"]]},{"metric":', b'"values":', b"[["),
    *(b'"', b"[", b"]", b"{", b"}", b",", b":", b"\\", b"\n", b" ", b"null", b"true", b"1", b'"1"'),
    *(b'"warnings":["x"],', b'"isPartial":true,', b'"status":"error",', b'"histograms":[],'),
    *(
        b'"infos":["PromQL info: x"],',
        b'"resultType":"vector",',
        b"NaN",
        b"\xff",
        b'"value":[1,"1"],',
    ),
)
_BEGIN, _SPACED = b'{"metric":', b'{ "metric":'
_EXACT_SECONDS = 2**40
# What may stand for a number in an answer, said once more.
_NUMBER = re.compile(
    r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:inf(?:inity)?|nan))"
)


def number(m: Mutator) -> str:
    """A sample's value, sometimes none."""
    if m.chance(0.6):
        return m.pick(_VALUES)
    return m.number_text() if m.chance(0.5) else repr(m.float())


def body_of(m: Mutator) -> bytes:
    """A whole answer."""
    gap = b" " if m.chance(0.1) else b""
    series = []
    for _ in range(m.below(5)):
        # Milliseconds of all kinds: seconds times a thousand is not always what it seems.
        begin_ms = m.pick((1_700_000_000_000, 0, 1_099_511_627_775_000, 2**42)) + m.below(100_000)
        samples = []
        for n in range(m.between(1, 5)):
            seconds, ms = divmod(begin_ms + 15_003 * n, 1000)
            when = f"{seconds}.{ms:03d}" if ms else str(seconds)
            if m.chance(0.02):
                when = m.number_text()
            text = number(m).encode("utf-8", "replace").replace(b"\n", b"")
            samples.append(b'[%s,%s"%s"]' % (when.encode("utf-8", "replace"), gap, text))
        one = b'{"metric":%s,%s"values":[%s]' % (m.pick(_LABEL_SETS), gap, b",".join(samples))
        if m.chance(0.05):
            one += b',"histograms":[%s]' % _HISTOGRAM
        series.append(one + b"}")
    head = b'{"status":"success","data":{"resultType":"matrix","result":['
    tail = m.pick(_TAILS) if m.chance(0.4) else b"]}}"
    return head + b",".join(series) + tail


class PrometheusBodies(Target):
    """Any body, in any chunks: the same samples by every way, or a source error by every way."""

    name = "prometheus_bodies"
    weight = 250

    def make(self, m: Mutator) -> tuple[bytes, list[int], int, int]:
        """A body, the sizes of its chunks, the decoder's sizes."""
        body = body_of(m)
        if m.chance(0.6):
            body = m.bytes(body, TOKENS)
        sizes = [m.below(60) for _ in range(m.below(8))] if m.chance(0.7) else []
        return body, sizes, m.pick((1, 64, 300, 1 << 18)), m.pick((1, 150, 1 << 20))

    def check(self, case: Any) -> bool:
        """The fast way, the plain way, and JSON."""
        body, sizes, block_bytes, long_series_bytes = case
        fast = _outcome(_chunked(body, sizes), block_bytes, long_series_bytes)
        # A space that JSON does not mind keeps every series from the fast way. The text cannot
        # occur inside a string: its quotes would have to be escaped.
        slow = _outcome([body.replace(_BEGIN, _SPACED)], 1 << 18, 1 << 20)
        document = parsed(body)
        if isinstance(fast, str) or isinstance(slow, str):
            if isinstance(slow, str) and not isinstance(fast, str):
                # The fast way leaves label sets to the transformer, whose dead letters they become.
                readable = all(map(is_label_set, {labels for labels, _, _ in fast[0]}))
                require(not readable or document is None, "the plain way refuses good JSON", slow)
                require(_same_digits(body, fast[0]), "broken JSON is read as other numbers")
                return True
            require(isinstance(fast, str), "the plain way takes what the fast way refuses", fast)
            return False
        require(fast == slow, "fast and plain differ", fast, slow)
        require(document is not None, "read, though it is no JSON")
        _check_complete(document)
        expected = _expected(document)
        if expected is not None:
            found = [(b"", ms, bits) for _, ms, bits in fast[0]]
            require(found == expected, "JSON says otherwise", found, expected)
        return True


def _chunked(body: bytes, sizes: list[int]) -> Iterator[bytes]:
    for size in sizes:
        yield body[:size]
        body = body[size:]
    yield body


def _outcome(
    chunks: Any, block_bytes: int, long_series_bytes: int
) -> tuple[list[Sample], list[int], list[str]] | str:
    """Samples, times of histograms in ms, and notices; or the kind of error."""
    notices: list[str] = []
    try:
        blocks = list(decode(chunks, notices.append, block_bytes, long_series_bytes))
    except SourceError as error:
        return type(error).__name__
    samples: list[Sample] = []
    for block in blocks:
        samples += _samples(block)
    return samples, [ms for block in blocks for ms in block.histograms_ms.tolist()], notices


def _samples(block: Samples) -> Iterator[Sample]:
    require(bool((block.counts > 0).all()), "a series without samples")
    require(int(block.counts.sum()) == len(block) == len(block.values), "columns differ")
    at = 0
    for labels, count in zip(block.series, block.counts.tolist(), strict=True):
        for ms, value in zip(
            block.timestamps_ms[at : at + count].tolist(),
            block.values[at : at + count].tolist(),
            strict=True,
        ):
            yield labels.replace(_SPACED, _BEGIN).strip(), ms, struct.pack("<d", value)
        at += count


def is_label_set(text: bytes) -> bool:
    """Whether the transformer could read it."""
    try:
        msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


class _Doubled(ValueError):
    """A key is given twice: which one counts is nobody's to say."""


def parsed(body: bytes) -> Any:
    """The document with its numbers as text; None for what is no JSON."""

    def constant(name: str) -> NoReturn:
        raise ValueError(name)

    try:
        return json.loads(
            body.decode(), parse_int=str, parse_float=str, parse_constant=constant,
            object_pairs_hook=_pairs,
        )  # fmt: skip
    except _Doubled:
        return {}
    except (ValueError, RecursionError):
        return None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Doubled
    return found


def _expected(document: Any) -> list[Sample] | None:
    """The samples by JSON alone, without their labels; None where it has none."""
    try:
        result = document["data"]["result"]
    except (KeyError, TypeError):
        return None
    found: list[Sample] = []
    for series in result or ():
        for seconds, value in series.get("values") or ():
            require(_NUMBER.fullmatch(value) is not None, "read as a number", value)
            ms = _milliseconds(seconds)
            found.append((b"", ms, struct.pack("<d", float(value))))
    return found


def _check_complete(document: dict[str, Any]) -> None:
    """Nothing is taken that is no success, or says of itself that it is not whole."""
    if not document:
        return  # a key was given twice
    require(document.get("status") == "success", "taken, though it is no success", document)
    require(not document.get("isPartial"), "taken, though it is partial")
    warnings = document.get("warnings") or []
    remarks = warnings if isinstance(warnings, list) else [warnings]
    require(all(str(one).startswith("PromQL ") for one in remarks), "taken with warnings", remarks)
    kind = document["data"].get("resultType") if isinstance(document.get("data"), dict) else None
    require(kind == "matrix", "taken, though it is no matrix", kind)


def _milliseconds(text: str) -> int:
    if abs(float(text)) < _EXACT_SECONDS:
        return round(float(text) * 1000)
    return int((Decimal(text) * 1000).quantize(Decimal(1), ROUND_HALF_EVEN))


def _same_digits(body: bytes, samples: list[Sample]) -> bool:
    """Whether every value is written in the body: nothing was made up from broken JSON."""
    texts = re.split(rb'[,"\[\]\s{}:]+', body)
    bits = set()
    for text in texts:
        try:
            bits.add(struct.pack("<d", float(text)))
        except ValueError:
            continue
    return all(sample[2] in bits for sample in samples)


class PrometheusValues(Target):
    """An answer that is one number: it, None, or a source error."""

    name = "prometheus_values"
    weight = 40

    def make(self, m: Mutator) -> tuple[bytes, list[int]]:
        """A scalar or a vector, damaged."""
        value: Any = [1_700_000_000.123, number(m).encode("utf-8", "replace").decode()]
        what = m.pick(("scalar", "vector", "string", "matrix"))
        result = value if what in ("scalar", "string") else [{"metric": {}, "value": value}]
        document: Any = {"status": "success", "data": {"resultType": what, "result": result}}
        if m.chance(0.6):
            document = m.document(document)
        body = json.dumps(document).encode()
        if m.chance(0.3):
            body = m.bytes(body, TOKENS)
        return body, [m.below(40) for _ in range(m.below(5))]

    def check(self, case: Any) -> bool:
        """Documented errors only."""
        body, sizes = case
        try:
            found = decode_value(_chunked(body, sizes))
        except SourceError:
            return False
        require(found is None or isinstance(found, float), "no number", found)
        return True
