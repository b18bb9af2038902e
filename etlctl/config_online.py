"""What Prometheus gives for each query now: ``etlctl config check --online``."""

from __future__ import annotations

from contextlib import closing

from common.config import Query, Settings
from common.errors import QueryRejected, QueryTooLarge
from services.extractor.prometheus import PrometheusClient

# So far back an instant query of Prometheus looks for a sample of a series, unless configured.
LOOKBACK_MS = 300_000


def query_warnings(settings: Settings) -> dict[str, str]:
    """By query: that it matches no series now, or why Prometheus rejects it.

    Each is read as the extractor reads it, and given up after the first samples. Raises a
    :class:`~common.errors.SourceError` where Prometheus cannot be reached or refuses us.
    """
    extract = settings.extract
    with closing(PrometheusClient(extract)) as client:
        now_ms = client.now_ms()
        found = {
            query.name: _warning(client, query, now_ms - query.settle_ms(extract.settle_seconds))
            for query in extract.queries
        }
    return {name: warning for name, warning in found.items() if warning}


def _warning(client: PrometheusClient, query: Query, settled_ms: int) -> str:
    end_ms = settled_ms // query.step_ms * query.step_ms
    length_ms = query.step_ms if query.kind == "expr" else max(query.step_ms, LOOKBACK_MS)
    try:
        matches = next(client.read(query, end_ms - length_ms, end_ms), None) is not None
    except QueryTooLarge:
        return ""
    except QueryRejected as error:
        return str(error)
    return "" if matches or query.may_be_empty else "matches no series now"
