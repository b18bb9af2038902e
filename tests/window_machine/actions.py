"""What can happen, and how often: Hypothesis and :func:`walk` draw from the same actions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from common.state.keys import POINTS, RAW
from common.state.windows import WindowClass

# What actions are drawn from.
BOTH = (False, True)
MOSTLY = (False, True, True, True)
STREAMS = (RAW, POINTS)
CLASSES = get_args(WindowClass)
# Mostly whoever plans the feed, now and then a worker with another configuration.
STRANGERS = (False, False, False, False, True)
# Mostly who holds something, now and then who believes to.
LATE = (False, False, True)
# What becomes of an entry's samples, in turn.
OUTCOME = ("good", "too", "nan", "bad")
OUTCOMES = tuple(
    outcomes for length in (1, 2, 3) for outcomes in itertools.product(OUTCOME, repeat=length)
)

Method = TypeVar("Method", bound=Callable[..., None])
T = TypeVar("T")


@dataclass(frozen=True)
class Action:
    """Something that happens: the machine's method, when it can, how often, with what."""

    name: str
    when: Callable[[Any], bool]
    weight: int
    domains: dict[str, Sequence[Any]]


ACTIONS: list[Action] = []


def happens(
    when: Callable[[Any], bool] = lambda _: True, *, weight: int = 1, **domains: Sequence[Any]
) -> Callable[[Method], Method]:
    """Make a method an action, and a rule of Hypothesis: each argument is one of its domain."""

    def register(method: Method) -> Method:
        ACTIONS.append(Action(method.__name__, when, weight, domains))
        strategies = {name: st.sampled_from(domain) for name, domain in domains.items()}
        # Its types speak of rules with targets too, and of none without.
        made: Method = precondition(when)(rule(**strategies)(method))  # type: ignore[call-overload]
        return made

    return register


def chosen(items: Sequence[T], ours: Callable[[T], bool], late: bool, which: int) -> T:
    """One that its holder still has, or with ``late`` one that it has lost; else any."""
    fitting = [item for item in items if ours(item) != late] or items
    return fitting[which % len(fitting)]
