"""What an answer says about itself, around the samples: whether it is a success, and complete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from common.errors import QueryRejected, SourceUnavailable
from services.extractor.source_errors import reported_error, snippet

# Remarks of the query engine about the expression: certain to come again, and not about
# completeness (util/annotations/annotations.go of Prometheus 3).
_REMARKS = ("PromQL warning", "PromQL info")

Notice = Callable[[str], None]


@dataclass(slots=True)
class Envelope:
    """The members of an answer and of its ``data``, but for the list of series."""

    top: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    has_result: bool = False

    def check_type(self) -> None:
        """Raise :class:`QueryRejected` if the result is known to be something else than series."""
        kind = self.data.get("resultType", "matrix")
        if kind != "matrix":
            raise QueryRejected(f"answered with a {kind}, not with series (a matrix)")

    def check(self, notice: Notice) -> None:
        """Raise unless the document, read to its end, is a complete and successful matrix."""
        self.check_success()
        self.check_type()
        if not self.has_result and self.data.get("result", ()) is not None:
            raise SourceUnavailable("answered with a matrix that has no list of series")
        self.check_complete(notice)

    def check_success(self) -> None:
        """Raise what the server reports, or :class:`SourceUnavailable` if it reports nothing."""
        status = self.top.get("status")
        if status == "error":
            raise reported_error(str(self.top.get("errorType", "")), str(self.top.get("error", "")))
        if status != "success" or "resultType" not in self.data:
            raise SourceUnavailable(
                f"answered with JSON that is no query result: {snippet(repr(self.top | self.data))}"
            )

    def check_complete(self, notice: Notice) -> None:
        """Raise :class:`SourceUnavailable` if some of the data is said to be missing."""
        remarks = self.top.get("warnings") or []
        if not isinstance(remarks, list):
            remarks = [remarks]
        warnings = [str(text) for text in remarks if not str(text).startswith(_REMARKS)]
        if warnings:
            raise SourceUnavailable(f"answered incompletely, with warnings: {'; '.join(warnings)}")
        # VictoriaMetrics' way to say that some of its storage did not answer.
        if self.top.get("isPartial"):
            raise SourceUnavailable("answered incompletely (isPartial)")
        for text in remarks:
            notice(f"{text!s:.400}")
