"""What is remembered of entries between deliveries: who is suspect, and what was isolated."""

from __future__ import annotations

from dataclasses import replace

from services.loader.entry_history import (
    HOPELESS_FAILURES,
    KEPT_BYTES,
    KEPT_ENTRIES,
    KEPT_SECONDS,
    SUSPECT_FAILURES,
    IsolationCache,
    Suspects,
)
from services.loader.lines import Lines, LineStatus
from tests.doubles.loading import Clock, entry, lines


def test_only_who_fails_while_others_pass_is_suspect() -> None:
    suspects = Suspects()
    for _ in range(9):  # an outage
        suspects.failed(["a", "b"])
    assert (suspects.failures("a"), suspects.is_suspect("a")) == (1, False)
    for _ in range(2):
        suspects.passed()
        suspects.failed(["a"])
    assert suspects.is_suspect("a")
    assert not suspects.is_suspect("b")
    suspects.forget("a")
    assert suspects.failures("a") == 0


def test_suspects_are_not_remembered_without_bound() -> None:
    suspects = Suspects()
    suspects.failed(["first"])
    suspects.failed(str(number) for number in range(10_000))
    assert suspects.failures("first") == 0
    assert suspects.failures("9999") == 1


def test_suspicion_and_hopelessness_take_their_failures() -> None:
    suspects = Suspects()
    for failures in range(1, HOPELESS_FAILURES + 1):
        suspects.failed(["a"])
        suspects.passed()
        assert suspects.is_suspect("a") == (failures >= SUSPECT_FAILURES)
        assert suspects.is_hopeless("a") == (failures >= HOPELESS_FAILURES)


def test_what_was_isolated_grows_old_and_gives_way() -> None:
    clock = Clock()
    cache = IsolationCache(clock)
    entries = [entry(str(number), lines(1)) for number in range(KEPT_ENTRIES + 1)]
    found = Lines(lines(1), bytearray([LineStatus.REJECTED]), {0: "no"}, [[0]])
    for one in entries:
        cache.put(one, found)
    first, second = entries[:2]
    assert cache.get(first) is None
    assert cache.get(second) == found
    assert cache.get(replace(second, payload_key="another")) is None
    clock.pass_(KEPT_SECONDS + 1)
    assert cache.get(second) is None
    cache.put(second, found)
    cache.forget(second)
    assert cache.get(second) is None


def test_what_was_isolated_is_kept_in_so_many_bytes_and_the_latest_always() -> None:
    cache = IsolationCache(Clock())
    text = lines(10)
    entries = [entry(str(number), text) for number in range(3)]
    message = "no" * (KEPT_BYTES // 4)  # half of them
    of_one = Lines(text, messages={0: message, 1: message, 2: message})
    for one in entries[:2]:
        cache.put(one, of_one)
    assert cache.get(entries[0]) is None, "one text, however many lines have it, and a little more"
    assert cache.get(entries[1]) == of_one
    cache.put(entries[2], Lines(text, messages={0: 3 * message}))
    assert cache.get(entries[1]) is None
    assert cache.get(entries[2]) is not None
