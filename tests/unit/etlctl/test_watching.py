"""``--watch``: again and again, whatever fails meanwhile, until Ctrl-C or until nobody reads."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import typer
from redis.exceptions import ConnectionError as RedisConnectionError

from common.exit_codes import ExitCode
from etlctl.output import print_json, printed
from etlctl.times import Clock
from etlctl.watching import Seen, pause_option, watched

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    printed.json = printed.reader_gone = False


class Looks:
    """What a command finds; sleeps until it was asked as often as there are codes."""

    def __init__(self, *found: ExitCode | Exception) -> None:
        self.found = list(found)
        self.slept: list[float] = []

    def __call__(self) -> Seen:
        one = self.found.pop(0)
        if isinstance(one, Exception):
            raise one
        return one, lambda: print_json({"code": int(one)})

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if not self.found:
            raise KeyboardInterrupt


def test_without_it_once(capsys: Capture) -> None:
    looks = Looks(ExitCode.ERROR)
    assert watched(None, looks, as_json=True) is ExitCode.ERROR
    assert json.loads(capsys.readouterr().out) == {"code": 1}


def test_without_it_an_error_is_the_commands() -> None:
    with pytest.raises(RedisConnectionError):
        watched(None, Looks(RedisConnectionError("away")), as_json=True)


def test_with_it_an_error_is_said_and_the_next_look_follows(capsys: Capture) -> None:
    looks = Looks(ExitCode.OK, RedisConnectionError("away"), ExitCode.ERROR)
    code = watched(2.5, looks, as_json=True, clock=Clock(sleep=looks.sleep))
    assert code is ExitCode.ERROR
    assert looks.slept == [2.5, 2.5, 2.5]
    said = capsys.readouterr()
    documents, decoder = [], json.JSONDecoder()
    rest = said.out
    while rest := rest.lstrip():
        document, end = decoder.raw_decode(rest)
        documents.append(document)
        rest = rest[end:]
    problem = "Redis cannot be reached: away"
    assert documents == [{"code": 0}, {"problems": [problem], "exit_code": 3}, {"code": 1}]
    assert said.err == f"etlctl: {problem}\n"


def test_a_defect_ends_it() -> None:
    looks = Looks(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        watched(1.0, looks, as_json=False, clock=Clock(sleep=looks.sleep))


def test_it_ends_when_nobody_reads_any_more() -> None:
    printed.reader_gone = True
    assert watched(1.0, Looks(), as_json=False) is ExitCode.OK


@pytest.mark.parametrize("seconds", [0.0, 0.1, -1.0, float("nan"), float("inf"), 86_401.0])
def test_a_pause_that_nobody_can_wait_for_is_refused(seconds: float) -> None:
    with pytest.raises(typer.BadParameter, match=r"0\.2 to 86,400 seconds"):
        pause_option(seconds)
    assert pause_option(None) is None
    assert pause_option(2.0) == 2.0
