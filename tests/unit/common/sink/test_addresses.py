"""Which URL of a clustered sink is used, and when another takes over."""

from __future__ import annotations

import pytest

from common.sink.addresses import Addresses
from tests.doubles.loading import Clock

A, B, C = "http://a", "http://b", "http://c"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def addresses(clock: Clock, said: list[str]) -> Addresses:
    return Addresses([A + "/", B, C], 60, clock, said.append)


def test_the_next_is_used_when_one_fails(addresses: Addresses, said: list[str]) -> None:
    assert addresses.url == A
    assert addresses.failed(A)
    assert addresses.failed(B)
    assert not addresses.failed(C)  # none is left that did not fail
    assert said == [B, C, A]


def test_one_that_answered_may_fail_again(addresses: Addresses) -> None:
    addresses.failed(A)
    addresses.answered(B)
    assert addresses.url == B
    assert addresses.failed(B)
    assert addresses.failed(C)
    assert not addresses.failed(A)


def test_a_failure_of_one_that_is_not_used_any_more_changes_nothing(
    addresses: Addresses, said: list[str]
) -> None:
    addresses.failed(A)
    assert addresses.failed(A)
    assert addresses.url == B
    assert said == [B]


def test_the_first_is_tried_again_and_used_once_it_answers(
    addresses: Addresses, clock: Clock, said: list[str]
) -> None:
    addresses.failed(A)
    assert addresses.try_first() == B
    clock.pass_(60)
    assert addresses.try_first() == A
    assert addresses.try_first() == B  # one request finds out
    assert addresses.failed(A)
    assert addresses.url == B
    clock.pass_(60)
    assert addresses.try_first() == A
    addresses.answered(A)
    assert addresses.url == A
    assert said == [B, A]


def test_a_single_url_is_used_whatever_comes_of_it(clock: Clock) -> None:
    single = Addresses([A], 60, clock)
    assert not single.failed(A)
    clock.pass_(60)
    assert single.try_first() == A
