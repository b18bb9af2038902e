"""The whole of etl.yaml as one frozen model, and as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from pydantic import BaseModel, Field, SecretStr, model_validator

from common.config.checks.rules import problems
from common.config.default_queries import default_queries
from common.config.extract import ExtractSettings
from common.config.fields import Problem, Section, problems_error
from common.config.load import LoadSettings
from common.config.pipeline import PipelineSettings
from common.config.query import Query
from common.config.shard import queries_of
from common.config.transform import TransformSettings
from common.config.verify import VerifySettings
from common.samples.rollup import Rollup
from common.secret_files import MASK


class Settings(Section):
    """Everything that etl.yaml says."""

    extract: ExtractSettings = Field(description="Where samples come from.")
    transform: TransformSettings = Field(
        default_factory=TransformSettings, description="What is kept, and under which labels."
    )
    load: LoadSettings = Field(description="Where samples go.")
    pipeline: PipelineSettings = Field(
        default_factory=PipelineSettings, description="What all services share."
    )

    verify: VerifySettings = Field(
        default_factory=VerifySettings,
        description="How the sink is proven to hold what the source holds.",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        interval_seconds = self.pipeline.interval_seconds
        extract, sources = self.extract, self.extract.sources
        queries = extract.queries or default_queries(interval_seconds)
        if len(sources) == 1:
            # The same in every way as if it had no name.
            extract = extract.only(sources[0])
            queries = tuple(query.model_copy(update={"sources": ()}) for query in queries)
        rollups: dict[str, Rollup] = {
            name: tier.rollup for name, tier in self.load.tiers.items() if tier.rollup is not None
        }
        labels = extract.labels
        update = {
            "queries": tuple(query.bound(interval_seconds, rollups, labels) for query in queries),
            "live_window_max_seconds": self._live_window_max_seconds(queries),
        }
        object.__setattr__(self, "extract", extract.model_copy(update=update))
        if error := problems_error(problems(self)):
            raise error
        if self.extract.sources:
            self._read_each_source()
        if self.pipeline.shard is not None:
            self._keep_shard(self.pipeline.shard)
        return self

    @property
    def each_source(self) -> tuple[Self, ...]:
        """These settings for each source that has queries, as if it were the only one."""
        extract = self.extract
        if not extract.sources:
            return (self,)
        read = {query.source for query in extract.queries}
        return tuple(self.of_source(one.name) for one in extract.sources if one.name in read)

    def of_source(self, name: str) -> Self:
        """These settings for one source, as if it were the only one; ``name`` is that of a query.

        Empty where there is only one.
        """
        return self.model_copy(update={"extract": self.extract.of_source(name)}) if name else self

    def _read_each_source(self) -> None:
        """Make a query for each pair of a query and a source that it reads."""
        given = self.extract.queries
        queries = tuple(
            query.of_source(source.name, source.labels)
            for query in given
            for source in self.extract.sources
            if query.reads(source.name)
        )
        extract = self.extract.model_copy(update={"queries": queries})
        extract._queries_given = given
        object.__setattr__(self, "extract", extract)

    def _keep_shard(self, shard: str) -> None:
        """Leave the other shards' queries to them: only what they write matters here."""
        every = self.extract.queries
        ours = queries_of(shard, every)
        if not ours:
            text = f"{shard} gets none of the {len(every)} queries: use fewer shards"
            problem = problems_error([Problem(("pipeline", "shard"), text)])
            assert problem is not None
            raise problem
        extract = self.extract.model_copy(update={"queries": ours})
        extract._every_query = every
        object.__setattr__(self, "extract", extract)

    def _live_window_max_seconds(self, queries: Sequence[Query]) -> float:
        given = self.extract.live_window_max_seconds
        if "live_window_max_seconds" in self.extract.model_fields_set:
            return given
        # The default must not stand in the way of a step longer than itself.
        longest_step_ms = max(
            round(self.pipeline.interval_seconds * 1000), *(query.step_ms for query in queries)
        )
        return max(given, longest_step_ms / 1000)


def effective(settings: Settings, mask: bool = True) -> dict[str, Any]:
    """The keys and their values as plain data; secrets that are set are ``********`` if masked.

    A secret that has a file is left out, so that this can be read as a configuration again.
    """
    as_given = settings.model_copy(update={"extract": settings.extract.as_given()})
    plain = _plain(as_given, mask)
    assert isinstance(plain, dict)
    return plain


def _plain(value: Any, mask: bool) -> Any:
    if isinstance(value, BaseModel):
        return {
            name: _plain(getattr(value, name), mask)
            for name in type(value).model_fields
            if getattr(value, f"{name}_file", None) is None
        }
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return MASK if mask and secret else secret
    if isinstance(value, dict):
        return {key: _plain(item, mask) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, mask) for item in value]
    return value
