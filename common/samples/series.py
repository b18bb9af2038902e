"""The identity of a series in the sink: measurement, tag set and field, as bytes.

That is its series key, and behind a blank the name of its field, where that is not ``value``.

One function decides it for everybody: the extractor groups series that become one, the transformer
writes points under it, ``etlctl verify`` looks for them under it. It is computed once per series
and remembered, because the same series come again in every window.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from common.errors import WireError
from common.promql.relabel import Rule, compile_rules
from common.promql.selector import BUCKET_LABEL, CLASSIC_LABEL, CLASSIC_SUFFIXES
from common.samples.layout import DEFAULT_LAYOUT, NAME_TAG, Layout
from common.samples.line_names import (
    FIELD,
    escape_measurement,
    escape_tag,
    map_field,
    map_key,
    map_measurement,
    map_value,
    with_field,
)

if TYPE_CHECKING:
    from common.config import Settings

# MaxKeyLength in InfluxDB's models/points.go is 65,535 bytes for series key, a separator of 4, and
# field name.
_MAX_KEY_AND_FIELD_BYTES = 65_535 - 4
MAX_KEY_BYTES = _MAX_KEY_AND_FIELD_BYTES - len(FIELD)

_NAME_LABEL = "__name__"
_DECODER = msgspec.json.Decoder(dict[str, str])


class SeriesDrop(StrEnum):
    """Why no sample of a series is written."""

    RELABEL_DROPPED = "relabel_dropped"
    NOT_WHITELISTED = "not_whitelisted"
    NAME_CONFLICT = "name_conflict"
    NAME_MISSING = "name_missing"
    SERIES_KEY_TOO_LONG = "series_key_too_long"


# For each of the series that are to be remembered there is so much room for label set and key.
SERIES_BYTES = 1000

# The series key, why there is none, or what is wrong with the label set itself.
Resolved = bytes | SeriesDrop | WireError


class IntegerKey(bytes):
    """The key of a series whose samples are written as integers."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """A series as InfluxDB will hold it: mapped, not escaped; ``key`` is the escaped whole."""

    measurement: str
    tags: dict[str, str]
    field: str
    key: bytes


class SeriesEncoder:
    """From label sets to series keys; those of the last ``cache_series`` series are remembered.

    Fewer, where they are longer than usual: memory has an end.
    """

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        *,
        valid_metrics: Iterable[str] = (),
        expr_names: Iterable[str] = (),
        layout: Layout = DEFAULT_LAYOUT,
        integer_metrics: Iterable[str] = (),
        cache_series: int = 100_000,
    ) -> None:
        """Raises :class:`common.errors.ConfigError` for a rule that does not compile."""
        self._relabel = compile_rules(rules)
        self._is_valid = _globs(tuple(valid_metrics))
        self._expr_names = frozenset(expr_names)
        self._layout = DEFAULT_LAYOUT if layout == DEFAULT_LAYOUT else layout
        self._is_integer = _globs(tuple(integer_metrics))
        # Two generations: when the young one is full it becomes the old one, which is dropped.
        # So half of cache_series are remembered, if they are not too long, and all of them at most.
        self._generation_series = max(1, cache_series // 2)
        self._young_bytes = 0
        self._young: dict[bytes, bytes | SeriesDrop] = {}
        self._old: dict[bytes, bytes | SeriesDrop] = {}

    @property
    def remembered_series(self) -> int:
        """How many series are remembered; at most ``cache_series``, and at least room for two."""
        return len(self._young) + len(self._old)

    @classmethod
    def from_settings(cls, settings: Settings) -> SeriesEncoder:
        """The encoder that the configuration describes; raises ``ConfigError``."""
        transform = settings.transform
        return cls(
            transform.relabel,
            valid_metrics=transform.valid_metrics,
            expr_names=(
                name
                for query in settings.extract.every_query
                if query.kind == "expr"
                for name in query.names
            ),
            layout=settings.load.layout.layout,
            integer_metrics=settings.load.layout.integer_metrics,
            cache_series=transform.cache_series,
        )

    def keys(self, kind: str, query: str, series: Iterable[bytes]) -> list[Resolved]:
        """The series key (``measurement,tag=value…``, escaped) of each label set, in order.

        Behind it stands the name of the field, where that is not ``value``.

        ``series`` are JSON objects as Prometheus wrote them; ``kind`` and ``query`` those of the
        query that read them. A series without a key has the reason in its place; a
        :class:`WireError` there means that its label set cannot be read.
        """
        labels = list(series)
        known_as = labels
        if kind == "expr":
            # The query's name is part of the identity. A label set begins with a brace, a query's
            # name does not, so the two kinds share one cache.
            scope = query.encode() + b"\0"
            known_as = [scope + label_json for label_json in labels]
        found: list[Any] = list(map(self._young.get, known_as))
        if not all(found):  # a key is never empty, nor is a reason
            for index, key in enumerate(found):
                if key is None:
                    found[index] = self._remembered(known_as[index], kind, query, labels[index])
        return found

    def key(self, kind: str, query: str, label_json: bytes) -> Resolved:
        """What :meth:`keys` says of a single series."""
        return self.keys(kind, query, (label_json,))[0]

    def identity(self, kind: str, query: str, label_json: bytes) -> Identity | SeriesDrop:
        """The parsed form of :meth:`key`, not remembered.

        Raises :class:`WireError` when the label set cannot be read.
        """
        named = self.relabelled(kind, query, label_json)
        if isinstance(named, SeriesDrop):
            return named
        name, labels = named
        key = _key(name, labels, self._layout)
        if isinstance(key, SeriesDrop):
            return key
        bound = self._layout.bound(name, labels)
        tags = {
            map_key(label): map_value(value)
            for label, value in labels.items()
            if not (bound and label == BUCKET_LABEL)
        }
        place = self._layout.place(name, bound)
        if place.name:
            tags[NAME_TAG] = place.name
        return Identity(place.measurement, tags, place.field, key)

    def relabelled(
        self, kind: str, query: str, label_json: bytes
    ) -> tuple[str, dict[str, str]] | SeriesDrop:
        """The name and the labels that a series is to have, not yet mapped."""
        try:
            labels = _DECODER.decode(label_json)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise WireError(f"label set {label_json[:200]!r} cannot be read: {error}") from None
        if kind == "expr":
            query = name_of_expr(query, labels)
            labels[_NAME_LABEL] = query
        if not self._relabel(labels):
            return SeriesDrop.RELABEL_DROPPED
        name = query if kind == "expr" else labels.get(_NAME_LABEL)
        if not name:
            return SeriesDrop.NAME_MISSING
        if self._is_valid and not self._is_valid(name):
            return SeriesDrop.NOT_WHITELISTED
        if kind != "expr" and name in self._expr_names:
            return SeriesDrop.NAME_CONFLICT
        # As in Prometheus, an empty value is no label, and "__" is for use while relabelling.
        return name, {
            label: value for label, value in labels.items() if value and label[:2] != "__"
        }

    def _remembered(self, known_as: bytes, kind: str, query: str, label_json: bytes) -> Resolved:
        key = self._young.get(known_as)
        if key is not None:
            return key
        key = self._old.get(known_as)
        if key is None:
            try:
                named = self.relabelled(kind, query, label_json)
            except WireError as error:
                return error
            key = named if isinstance(named, SeriesDrop) else self._key(*named)
        size_bytes = len(known_as) + (len(key) if isinstance(key, bytes) else 0)
        if (
            len(self._young) >= self._generation_series
            or self._young_bytes + size_bytes > self._generation_series * SERIES_BYTES
        ):
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[known_as] = key
        self._young_bytes += size_bytes
        return key

    def _key(self, name: str, labels: dict[str, str]) -> bytes | SeriesDrop:
        key = _key(name, labels, self._layout)
        if self._is_integer and isinstance(key, bytes) and self._is_integer(name):
            return IntegerKey(key)
        return key


def name_of_expr(query: str, labels: Mapping[str, str]) -> str:
    """What a series that an expression gives is called: as the query, or as a histogram of it."""
    suffix = labels.get(CLASSIC_LABEL, "")
    metric = query.partition("@")[0]  # without the name of one of several sources
    return metric + suffix if suffix in CLASSIC_SUFFIXES else metric


def _key(name: str, labels: dict[str, str], layout: Layout) -> bytes | SeriesDrop:
    """Measurement and tags, mapped and escaped, the tags in the order of their escaped keys.

    InfluxDB compares escaped keys, and need not sort these again. Behind them the field.
    """
    measurement, field = name, FIELD
    if layout is not DEFAULT_LAYOUT:
        if bound := layout.bound(name, labels):
            labels = {label: value for label, value in labels.items() if label != BUCKET_LABEL}
        measurement, field = layout.texts(name, bound)
    tags = [(_tag_key(label), value) for label, value in labels.items()]
    if layout.name_tag:
        tags.append((NAME_TAG, name))
    tags.sort()
    text = ",".join([_measurement(measurement), *[f"{key}={value}" for key, value in tags]])
    # Nearly all label sets have nothing to map or escape, which is seen fastest from the whole.
    if not (
        text.isascii()
        and text.isprintable()
        and " " not in text
        and "\\" not in text
        and text.count(",") == text.count("=") == len(tags)
    ):
        pairs = [f"{key}={escape_tag(map_value(value))}" for key, value in tags]
        text = ",".join([_measurement(measurement), *pairs])
    key = text.encode()
    if field == FIELD:
        return key if len(key) <= MAX_KEY_BYTES else SeriesDrop.SERIES_KEY_TOO_LONG
    key = with_field(key, _field(field))
    return key if len(key) - 1 <= _MAX_KEY_AND_FIELD_BYTES else SeriesDrop.SERIES_KEY_TOO_LONG


# Few names are met again and again; values are not, and may be long.
@lru_cache(maxsize=4096)
def _measurement(name: str) -> str:
    return escape_measurement(map_measurement(name))


@lru_cache(maxsize=4096)
def _field(name: str) -> bytes:
    return escape_tag(map_field(name)).encode()


@lru_cache(maxsize=4096)
def _tag_key(label: str) -> str:
    return escape_tag(map_key(label))


def _globs(patterns: tuple[str, ...]) -> Callable[[str], bool] | None:
    """Whether a metric's name is one of ``patterns``, exact names or globs; None for none."""
    if not patterns:
        return None
    # fnmatch translates to atomic groups, which cannot backtrack for long.
    glob = re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns))
    return lambda name: glob.match(name) is not None
