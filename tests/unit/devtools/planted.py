"""Targets with defects that the fuzzer must find."""

from __future__ import annotations

import os
import time
from typing import Any, ClassVar

from devtools.fuzz.mutate import Mutator
from devtools.fuzz.target import Broken, Target, require


class Planted(Target):
    """Breaks a rule for one text in some hundred."""

    name: ClassVar[str] = "planted"

    def make(self, m: Mutator) -> tuple[list[int], float]:
        """Numbers, some of which are too large, and one that has nothing to do with it."""
        return [m.below(1000) for _ in range(m.below(10))], m.float()

    def check(self, case: Any) -> bool:
        """Mostly good."""
        require(not any(number > 980 for number in case[0]), "never above 980", case)
        return len(case[0]) % 2 == 0


class Raising(Target):
    """An error that no decoder may raise."""

    name: ClassVar[str] = "raising"

    def make(self, m: Mutator) -> int:
        """What happens."""
        return m.below(200)

    def check(self, case: Any) -> bool:
        """Rarely bad."""
        if case == 7:
            raise KeyError("planted")
        return True


class Endless(Target):
    """Goes on for ever, at times."""

    name: ClassVar[str] = "endless"

    def make(self, m: Mutator) -> int:
        """What happens."""
        return m.below(100)

    def check(self, case: Any) -> bool:
        """A loop without an end."""
        while case == 9:
            pass
        return True


class Aborting(Target):
    """Kills the process that tries it, at times."""

    name: ClassVar[str] = "aborting"

    def make(self, m: Mutator) -> int:
        """What happens."""
        return m.below(20)

    def check(self, case: Any) -> bool:
        """A crash of C code."""
        if case == 12:
            os.abort()
        return True


class Waiting(Target):
    """Waits without work, at times."""

    name: ClassVar[str] = "waiting"

    def make(self, m: Mutator) -> int:
        """What happens."""
        return m.below(20)

    def check(self, case: Any) -> bool:
        """No processor time is spent."""
        if case == 12:
            time.sleep(3600)
        return True


class Greedy(Target):
    """Takes more memory than there is, at times."""

    name: ClassVar[str] = "greedy"

    def make(self, m: Mutator) -> int:
        """What happens."""
        return m.below(20)

    def check(self, case: Any) -> bool:
        """Too much of it."""
        return case != 12 or len(bytearray(8 << 30)) > 0


class Always(Target):
    """Never holds."""

    name: ClassVar[str] = "always"

    def make(self, m: Mutator) -> int:
        """Nothing much."""
        return m.below(3)

    def check(self, case: Any) -> bool:
        """Never."""
        raise Broken("always", case)
