"""What several commands are asked alike: options that are made into one value before they run."""

from __future__ import annotations

import functools
from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any, TypeVar

T = TypeVar("T")


def asks(
    parameter: str, maker: Callable[..., object]
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """A decorator: in place of ``parameter`` typer asks for the parameters of ``maker``.

    The function is given what ``maker`` returns. It may itself be the maker of another one.
    """
    wanted = signature(maker, eval_str=True).parameters

    def decorated(function: Callable[..., T]) -> Callable[..., T]:
        own = signature(function, eval_str=True)

        @functools.wraps(function)
        def filled(**given: Any) -> T:
            made = maker(**{name: given.pop(name) for name in wanted})
            return function(**given, **{parameter: made})

        asked: list[Parameter] = []
        for name, one in own.parameters.items():
            asked += wanted.values() if name == parameter else [one]
        # Typer calls by name only, and any order of defaults is allowed there.
        by_name = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in asked]
        filled.__signature__ = own.replace(parameters=by_name)  # type: ignore[attr-defined]
        return filled

    return decorated
