"""What a fault proxy does to requests, as the driver orders it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Action = Literal[
    "answer",  # with `status`, `headers` and `body`; the server never hears of the request
    "reset_body",  # read `share` of the request's body, then reset the connection
    "lose_answer",  # the server gets the request and answers; its client sees a reset
    "slow",  # the server gets the request after `seconds`, even if its client has closed by then
    "truncate",  # only `share` of the answer's body arrives, framed as if that were all of it
    "drip",  # `share` of the answer, head and all, arrives at once, then a byte now and then
    "cut_answer",  # only `share` of the answer's body arrives, then the connection ends
    "endless",  # an answer of `body`, and then `more` for ever; the server never hears of it
]


@dataclass(frozen=True, slots=True)
class Rule:
    """One fault, for the first ``times`` requests that fit (``None``: until it is cleared).

    A request fits when its target begins with ``path``, does not contain ``unless`` (if that is
    given), its body has at least ``min_body_bytes``, and holds ``holding`` once it is inflated.
    """

    action: Action
    times: int | None = 1
    path: str = "/"
    unless: str = ""
    min_body_bytes: int = 0
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    seconds: float = 0.0
    share: float = 0.5
    holding: str = ""
    more: str = " "

    def as_json(self) -> dict[str, Any]:
        """The rule as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Rule:
        """The reverse; raises :class:`TypeError` for a field that no rule has."""
        return cls(**document)

    def fits(self, target: str, body_bytes: int, body: bytes | None = None) -> bool:
        """Whether the rule is about a request; ``body`` is None until all of it was read."""
        return (
            target.startswith(self.path)
            and not (self.unless and self.unless in target)
            and body_bytes >= self.min_body_bytes
            and (not self.holding or (body is not None and self.holding.encode() in body))
        )


@dataclass(slots=True)
class Rules:
    """Rules in the order they were given; the first that fits a request takes it."""

    waiting: list[tuple[Rule, int]] = field(default_factory=list)
    hits: dict[str, int] = field(default_factory=dict)

    def add(self, rule: Rule) -> None:
        """One more rule, after the others."""
        self.waiting.append((rule, 0))

    def clear(self) -> None:
        """No rule any more; the counts of what was done stay."""
        self.waiting.clear()

    @property
    def left(self) -> int:
        """Requests that the counted rules still wait for."""
        return sum(rule.times - done for rule, done in self.waiting if rule.times is not None)

    @property
    def read_bodies(self) -> bool:
        """Whether a rule waits for what is in a body."""
        return any(rule.holding for rule, _ in self.waiting)

    def take(self, target: str, body_bytes: int, body: bytes | None = None) -> Rule | None:
        """The rule for a request, counted as done."""
        for index, (rule, done) in enumerate(self.waiting):
            if not rule.fits(target, body_bytes, body):
                continue
            self.hits[rule.action] = self.hits.get(rule.action, 0) + 1
            if rule.times is not None and done + 1 >= rule.times:
                del self.waiting[index]
            else:
                self.waiting[index] = (rule, done + 1)
            return rule
        return None
