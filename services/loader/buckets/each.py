"""One bucket after the other: one at which something fails keeps no other waiting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from common.errors import SinkError


@dataclass
class FailedBuckets:
    """Those of one turn, each with its first failure."""

    _errors: dict[str, str] = field(default_factory=dict, init=False)

    def __bool__(self) -> bool:
        return bool(self._errors)

    def __contains__(self, bucket: str) -> bool:
        return bucket in self._errors

    @contextmanager
    def noting(self, bucket: str) -> Iterator[None]:
        """Keep a :class:`SinkError` of what is done for ``bucket``."""
        try:
            yield
        except SinkError as error:
            self._errors.setdefault(bucket, str(error))

    def tell(self) -> None:
        """Raises :class:`SinkError` if there are any."""
        if self._errors:
            raise SinkError("; ".join(dict.fromkeys(self._errors.values())))
