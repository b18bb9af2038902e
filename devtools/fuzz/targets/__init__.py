"""What is fuzzed: every decoder of bytes or text that comes from outside."""

from __future__ import annotations

from devtools.fuzz.target import Target
from devtools.fuzz.targets.answers import RetryAfter, SinkAnswers, SinkQueries
from devtools.fuzz.targets.client import PrometheusAnswers
from devtools.fuzz.targets.config import Config
from devtools.fuzz.targets.dead_letters import StoredLetters
from devtools.fuzz.targets.durations import Durations, Sizes, Times
from devtools.fuzz.targets.entries import Entries, RawPayloads
from devtools.fuzz.targets.load import Loading
from devtools.fuzz.targets.points import PointsPayloads
from devtools.fuzz.targets.prometheus import PrometheusBodies, PrometheusValues
from devtools.fuzz.targets.push import RemoteWrite
from devtools.fuzz.targets.relabelling import Relabelling, Templates
from devtools.fuzz.targets.selectors import Expressions, Selectors
from devtools.fuzz.targets.transform import Transform
from devtools.fuzz.targets.verify_source import VerifySource

TARGETS: tuple[type[Target], ...] = (
    *(Entries, RawPayloads, Transform, PointsPayloads, Loading),
    *(PrometheusBodies, PrometheusValues, PrometheusAnswers, VerifySource, RemoteWrite),
    *(SinkAnswers, SinkQueries, RetryAfter),
    *(Config, Relabelling, Templates, Selectors, Expressions, Durations, Sizes, Times),
    StoredLetters,
)
