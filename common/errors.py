"""Every error that the project raises on purpose.

The text of an error is one sentence (or one line per problem) that names what went wrong and where,
fit to be shown to an operator without a traceback.
"""


class EtlError(Exception):
    """Base of all: catching it catches what the project raises on purpose and nothing else."""


class ConfigError(EtlError):
    """etl.yaml, an environment override or a secret file is unusable; the process exits with 2.

    ``problems`` holds one line for each problem; ``str()`` joins them with newlines.
    """

    def __init__(self, *problems: str) -> None:
        self.problems: tuple[str, ...] = problems
        super().__init__("\n".join(problems))


class WireError(EtlError):
    """A stream entry or payload cannot be decoded: unknown schema version or corrupt bytes."""


class SourceError(EtlError):
    """Base of everything that can go wrong while reading Prometheus."""


class SourceUnavailable(SourceError):
    """Prometheus cannot respond now, or the response is incomplete: retry with back-off.

    Connection refused, connect time-out, 5xx, 429, truncated JSON, HTML instead of JSON, and
    ``warnings``.
    ``retry_after_seconds`` is the wait that the server requested, or None. ``may_be_too_large``:
    time ran out behind the server, as it does for too large a window, too. ``away``: nothing
    responded, which says nothing of what was requested.
    """

    def __init__(
        self,
        message: str,
        retry_after_seconds: float | None = None,
        *,
        may_be_too_large: bool = False,
        away: bool = False,
    ) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.may_be_too_large = may_be_too_large
        self.away = away


class SourceLacks(SourceUnavailable):
    """What responds does not have all of a range, and what may have it is away.

    Other ranges can be read meanwhile.
    """


class SourceRefused(SourceError):
    """Prometheus refuses our credentials (401, 403): pause, not ready, drop nothing."""


class QueryRejected(SourceError):
    """Prometheus rejects this query (400 bad_data, 422 execution): the query fails alone."""


class QueryTooLarge(SourceError):
    """The window is too large (too many samples, query time-out, > 11,000 points): split it."""


class LeaseLost(EtlError):
    """The window or the entry is no longer ours: another worker has it, or it is done."""


class SinkError(EtlError):
    """The sink cannot be used at all (its responses are no errors, they become verdicts)."""


class SinkSlow(SinkError):
    """The sink took too long for one response: it may serve less at once, or another query."""


class StackError(EtlError):
    """The local stack of real servers cannot be set up, started or stopped."""
