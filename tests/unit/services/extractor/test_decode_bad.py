"""Responses that are wrong, incomplete or of another kind: one clear error, and never an end."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

import pytest

from common.errors import QueryRejected, QueryTooLarge, SourceError, SourceUnavailable
from services.extractor.source import body_text
from services.extractor.source.decode import decode, decode_value

GOOD = b'{"metric":{"a":"b"},"values":[[1.5,"1"]]}'


def matrix(*series: bytes, after: bytes = b"") -> bytes:
    result = b",".join(series)
    return b'{"status":"success","data":{"resultType":"matrix","result":[%s]}%s}' % (result, after)


def other(kind: str, result: str) -> bytes:
    return f'{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}'.encode()


BAD_BODIES: dict[str, tuple[bytes, type[SourceError], str]] = {
    "nothing": (b"", SourceUnavailable, "ends in the middle"),
    "white space": (b" \n", SourceUnavailable, "ends in the middle"),
    "html": (
        b"<html><body>502</body></html>",
        SourceUnavailable,
        "JSON object: '<html><body>502",
    ),
    "binary": (b"\xff\xfe\x00", SourceUnavailable, "something other than a JSON object"),
    "a list": (b"[]", SourceUnavailable, "something other than a JSON object"),
    "null": (b"null", SourceUnavailable, "something other than a JSON object"),
    "an empty object": (b"{}", SourceUnavailable, "no query result"),
    "other JSON": (b'{"message":"hello"}', SourceUnavailable, "no query result.*hello"),
    "a status of very many digits": (
        b'{"status":' + b"1" * 5_000 + b"}",
        SourceUnavailable,
        "no query result",
    ),
    "no data": (b'{"status":"success","data":null}', SourceUnavailable, "no query result"),
    "no result": (
        b'{"status":"success","data":{"resultType":"matrix"}}',
        SourceUnavailable,
        "no list of series",
    ),
    "result of another shape": (other("matrix", "{}"), SourceUnavailable, "no list of series"),
    "two documents": (matrix(GOOD) + matrix(GOOD), SourceUnavailable, "malformed JSON at byte"),
    "something behind": (matrix(GOOD) + b"<!-- -->", SourceUnavailable, "malformed JSON at byte"),
    "scalar": (other("scalar", '[1.5,"1"]'), QueryRejected, "a scalar"),
    "string": (other("string", '[1.5,"x"]'), QueryRejected, "a string"),
    "vector": (
        other("vector", '[{"metric":{},"value":[1.5,"1"]}]'),
        QueryRejected,
        "a vector, not with series",
    ),
    "empty vector": (other("vector", "[]"), QueryRejected, "a vector, not with series"),
    "scalar, said too late": (
        b'{"status":"success","data":{"result":[1.5,"1"],"resultType":"scalar"}}',
        QueryRejected,
        "a scalar or a string",
    ),
    "vector, said too late": (
        b'{"data":{"result":[{"metric":{},"value":[1.5,"1"]}],"resultType":"vector"}}',
        QueryRejected,
        "a vector",
    ),
    "vector of a histogram": (
        b'{"data":{"result":[{"metric":{},"histogram":[1.5,{}]}],"resultType":"vector"}}',
        QueryRejected,
        "a vector",
    ),
    "warnings": (
        matrix(GOOD, after=b',"warnings":["remote storage: timed out"]'),
        SourceUnavailable,
        "incompletely, with warnings: remote storage: timed out",
    ),
    "warnings among remarks": (
        matrix(GOOD, after=b',"warnings":["PromQL warning: x","store 2 is away"]'),
        SourceUnavailable,
        "warnings: store 2 is away$",
    ),
    "warnings that were left out": (
        matrix(
            GOOD, after=b',"warnings":["PromQL warning: x","3 more warning annotations omitted"]'
        ),
        SourceUnavailable,
        "3 more warning",
    ),
    "a warning that is no list": (
        matrix(GOOD, after=b',"warnings":"half of it"'),
        SourceUnavailable,
        "half of it",
    ),
    "partial": (matrix(GOOD, after=b',"isPartial":true'), SourceUnavailable, "isPartial"),
    "an error after all": (
        b'{"data":{"resultType":"matrix","result":[%s]},"status":"error","error":"gone"}' % GOOD,
        QueryRejected,
        "answered error: gone",
    ),
    "a reported error": (
        b'{"status":"error","errorType":"bad_data","error":"parse error: unexpected end"}',
        QueryRejected,
        "bad_data: parse error: unexpected end",
    ),
    "a reported time-out": (
        b'{"status":"error","errorType":"timeout","error":"query timed out"}',
        QueryTooLarge,
        "query timed out",
    ),
    "a series without samples": (matrix(b'{"metric":{}}'), SourceUnavailable, "no samples"),
    "a series without labels": (
        matrix(b'{"values":[[1.5,"1"]]}'),
        SourceUnavailable,
        "than a series",
    ),
    "labels that are no texts": (
        matrix(b'{"metric":{"a":1},"values":[[1.5,"1"] ]}'),
        SourceUnavailable,
        "than a series",
    ),
    "labels that are no object": (
        matrix(b'{"metric":["a"],"values":[[1.5,"1"]]}'),
        SourceUnavailable,
        "than a series",
    ),
    "a list among series": (matrix(GOOD, b"[[]]"), QueryRejected, "scalar or a string"),
    "a value that is no number": (
        matrix(b'{"metric":{},"values":[[1.5,"1_0"]]}'),
        SourceUnavailable,
        "'1_0' where a sample's value",
    ),
    "an empty value": (
        matrix(GOOD, b'{"metric":{},"values":[[1.5,""]]}'),
        SourceUnavailable,
        "'' where a sample's value",
    ),
    "a value without quotes and one text": (
        matrix(b'{"metric":{},"values":[[1.5,1],[2.5,"x"]]}'),
        SourceUnavailable,
        "than a series",
    ),
    "four numbers in a sample": (
        matrix(b'{"metric":{},"values":[[1.5,"2","3","4"]]}'),
        SourceUnavailable,
        "than a series",
    ),
    "a line break where a comma belongs": (
        matrix(b'{"metric":{},"values":[[1.5,"2"]\n[2.5,"2"]]}'),
        SourceUnavailable,
        "broken or ends",
    ),
    "a timestamp that is no number": (
        matrix(b'{"metric":{},"values":[["NaN","1"]]}'),
        SourceUnavailable,
        "timestamp",
    ),
    "a timestamp beyond all times": (
        matrix(b'{"metric":{},"values":[[1e300,"1"]]}'),
        SourceUnavailable,
        "'1e300' where a timestamp",
    ),
    "a text that is not UTF-8": (
        matrix(b'{"metric":{"a":"\xff"},"values":[[1.5,"1"]]}'),
        SourceUnavailable,
        "broken or ends",
    ),
    "constants that are not JSON": (
        matrix(b'{"metric":{},"values":[[NaN,"1"]]}'),
        SourceUnavailable,
        "broken or ends",
    ),
    "endless nesting": (
        matrix(b'{"metric":{},"values":' + b"[" * 100_000),
        SourceUnavailable,
        "malformed JSON at byte",
    ),
}


@pytest.mark.parametrize(("body", "error", "message"), BAD_BODIES.values(), ids=list(BAD_BODIES))
def test_bad_answers_raise_one_clear_error(
    body: bytes, error: type[SourceError], message: str
) -> None:
    for block_bytes in (1, 1 << 18):
        for chunks in ([body], [body[n : n + 1] for n in range(min(len(body), 2_000))]):
            if b"".join(chunks) != body:
                continue
            with pytest.raises(SourceError, match=message) as raised:
                list(decode(chunks, block_bytes=block_bytes))
            assert type(raised.value) is error
            assert "\n" not in str(raised.value)
            assert len(str(raised.value)) < 500


def test_blocks_before_the_fault_come_first() -> None:
    blocks = decode([matrix(GOOD, after=b',"warnings":["half"]')])
    assert len(next(blocks)) == 1
    with pytest.raises(SourceUnavailable, match="half"):
        next(blocks)


def test_what_the_connection_raises_passes_through() -> None:
    def broken() -> Iterator[bytes]:
        yield matrix(GOOD)[:50]
        raise SourceUnavailable("cut off")

    with pytest.raises(SourceUnavailable, match=r"^cut off$"):
        list(decode(broken()))


@pytest.mark.parametrize("number", [b"1" * 70_000, b"0." + b"1" * 70_000, b"-1e5"])
def test_numbers_of_any_length_beside_the_data_are_read_over(number: bytes) -> None:
    for chunk_bytes in (60_000, 1 << 20):
        body = matrix(GOOD, after=b',"x":' + number)
        chunks = [body[at : at + chunk_bytes] for at in range(0, len(body), chunk_bytes)]
        assert sum(map(len, decode(chunks))) == 1


def test_infos_are_ignored_and_remarks_are_told() -> None:
    remarks: list[str] = []
    after = b',"warnings":["PromQL warning: a","PromQL info: b"],"infos":["PromQL info: c"]'
    assert sum(map(len, decode([matrix(GOOD, after=after)], remarks.append))) == 1
    assert remarks == ["PromQL warning: a", "PromQL info: b"]


@pytest.mark.parametrize("result", [b"[]", b"null", b"[ ]"])
def test_an_empty_answer_is_an_answer(result: bytes) -> None:
    body = b'{"status":"success","data":{"resultType":"matrix","result":%s}}\n' % result
    assert list(decode([body])) == []


def test_a_value_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_text, "MAX_VALUE_BYTES", 1 << 20)
    taken_bytes = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken_bytes
        yield matrix(b'{"metric":{"a":"')[:-3]
        while True:
            taken_bytes += 65_536
            yield b"x" * 65_536

    with pytest.raises(QueryTooLarge, match="single value of more than"):
        list(decode(endless()))
    assert taken_bytes < 20 << 20


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (other("scalar", '[1.5,"1700000000.123"]'), 1700000000.123),
        (other("vector", '[{"metric":{},"value":[1.5,"42"]}]'), 42.0),
        (other("vector", "[]"), None),
        (other("vector", "null"), None),
        (other("scalar", f"[1.5,{'1' * 400}]"), inf),
        (other("vector", f'[{{"metric":{{}},"value":[1.5,-{"1" * 5_000}]}}]'), -inf),
    ],
)
def test_one_value(body: bytes, value: float | None) -> None:
    assert decode_value([body[:20], body[20:]]) == value


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (other("matrix", "[]"), QueryRejected, "a matrix, not with one value"),
        (other("string", '[1.5,"x"]'), QueryRejected, "a string, not with one value"),
        (other("scalar", '[1.5,"x"]'), QueryRejected, "not one value"),
        (other("vector", '[{"value":[1,"1"]},{"value":[1,"1"]}]'), QueryRejected, "not one value"),
        (other("vector", '[{"histogram":[1,{}]}]'), QueryRejected, "not one value"),
        (other("scalar", "{}")[:-1], SourceUnavailable, "ends in the middle"),
        (b"<html>", SourceUnavailable, "<html>"),
        (b"[1]", SourceUnavailable, "than a JSON object"),
        (b'{"status":"success","data":[]}', SourceUnavailable, "no query result"),
        (
            b'{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["x"]}',
            SourceUnavailable,
            "with warnings: x",
        ),
        (b'{"status":"error","errorType":"internal","error":"x"}', SourceUnavailable, "internal"),
    ],
)
def test_what_is_not_one_value(body: bytes, error: type[SourceError], message: str) -> None:
    with pytest.raises(SourceError, match=message) as raised:
        decode_value([body])
    assert type(raised.value) is error


@pytest.mark.parametrize(
    "values",
    [
        '[[0,1"1700000000"],[15.001,"2"]]',  # digits that a quote parts are not one number
        '[[15.001,"1","1.],[30.0020"]]',
        '[[1,"2"],[[3,"4"]]]',
        '[[1,"2"]],[[3,"4"]]',
        '[[1,""2],[3,"4"]]',
    ],
)
def test_digits_are_never_joined_over_a_quote(values: str) -> None:
    body = (
        '{"status":"success","data":{"resultType":"matrix","result":['
        '{"metric":{"a":"b"},"values":' + values + "}]}}"
    )

    with pytest.raises(SourceError):
        list(decode([body.encode()]))


@pytest.mark.parametrize("value", ["9" * 200_000 + "x", "İnf", "ınfinity", "1" * 100_000 + "e"])
def test_odd_values_are_refused_at_once(value: str) -> None:
    body = (
        '{"status": "success", "data": {"resultType": "matrix", "result": ['
        '{"metric": {"a": "b"}, "values": [[1, "' + value + '"]]}]}}'
    )

    with pytest.raises(SourceError):
        list(decode([body.encode()]))
