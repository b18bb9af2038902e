"""Settings of buckets by label."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field

from common.config.fields import CheckedSection, Problem, invalid
from common.samples.bucket_of_key import BucketOfKey, mark_of_bucket

BUCKETS_MAX = 100


_BUCKET_ID = re.compile(r"[0-9a-f]{16}")


def _bucket(name: str) -> str:
    if _BUCKET_ID.fullmatch(name):
        raise invalid("is the id of a bucket, which cannot be read back: give its name")
    if name.count("/") > 1 or name.startswith("/") or name.endswith("/"):
        raise invalid("must be a name, or database/retention policy of 1.x")
    return name


Bucket = Annotated[str, AfterValidator(_bucket)]


class BucketFrom(CheckedSection):
    """A label of the hot tier's series that says which bucket they are written to."""

    label: str = Field(
        min_length=1, description="The label, as it is after relabelling; it stays a tag."
    )
    buckets: dict[str, Annotated[Bucket, Field(min_length=1)]] = Field(
        min_length=1,
        description="Bucket by value of the label, at most 100. Series with another value, or "
        "without the label, go to the bucket of the tier, which also holds watermarks and seals.",
    )

    @property
    def of_key(self) -> BucketOfKey:
        """Tells the bucket of a series key."""
        return BucketOfKey(self.label, self.buckets)

    @property
    def names(self) -> tuple[str, ...]:
        """The buckets, each once."""
        return tuple(dict.fromkeys(self.buckets.values()))

    def _problems(self) -> Iterator[Problem]:
        if self.label.startswith("__"):
            yield Problem(("label",), f"is {self.label}, which no series has after relabelling")
        for value in self.buckets:
            if not value:
                yield Problem(("buckets",), "has an empty value: a label without one is no label")
        if len(self.names) > BUCKETS_MAX:
            yield Problem(("buckets",), f"has {len(self.names)} buckets: at most {BUCKETS_MAX}")
        known: dict[int, str] = {}
        for name in self.names:
            if (other := known.setdefault(mark_of_bucket(name), name)) != name:
                yield Problem(("buckets",), f"{name} cannot stand beside {other}: rename one")
