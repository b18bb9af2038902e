"""What is fuzzed: every decoder of bytes or text that comes from outside."""

from __future__ import annotations

from fuzz.target import Target
from fuzz.targets.answers import RetryAfter, SinkAnswers, SinkQueries
from fuzz.targets.client import PrometheusAnswers
from fuzz.targets.config import Config
from fuzz.targets.dead_letters import StoredLetters
from fuzz.targets.durations import Durations, Sizes, Times
from fuzz.targets.entries import Entries, RawPayloads
from fuzz.targets.load import Loading
from fuzz.targets.points import PointsPayloads
from fuzz.targets.prometheus import PrometheusBodies, PrometheusValues
from fuzz.targets.relabelling import Relabelling, Templates
from fuzz.targets.selectors import Expressions, Selectors
from fuzz.targets.transform import Transform
from fuzz.targets.verify_source import VerifySource

TARGETS: tuple[type[Target], ...] = (
    *(Entries, RawPayloads, Transform, PointsPayloads, Loading),
    *(PrometheusBodies, PrometheusValues, PrometheusAnswers, VerifySource),
    *(SinkAnswers, SinkQueries, RetryAfter),
    *(Config, Relabelling, Templates, Selectors, Expressions, Durations, Sizes, Times),
    StoredLetters,
)
