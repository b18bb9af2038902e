"""What servers that speak Prometheus' API say, and what it means for us.

Each text is that of the file named before it, with numbers filled in and some left out at its ends.
Of Mimir's only the id in parentheses is never reworded, so what stands before it may be older.
"""

from __future__ import annotations

from typing import NamedTuple

from common.errors import QueryRejected, QueryTooLarge, SourceError, SourceUnavailable


class Refusal(NamedTuple):
    """A status, and the type and text of the error in its body."""

    status: int
    error_type: str
    text: str
    meaning: type[SourceError]


_PROMETHEUS = [
    # promql/engine.go
    Refusal(
        422,
        "execution",
        "query processing would load too many samples into memory in query execution",
        QueryTooLarge,
    ),
    Refusal(503, "timeout", "query timed out in expression evaluation", QueryTooLarge),
    Refusal(422, "execution", "expanding series: context deadline exceeded", QueryTooLarge),
    Refusal(503, "timeout", "query timed out in query queue", SourceUnavailable),
    Refusal(503, "canceled", "query was canceled in query execution", SourceUnavailable),
    # web/api/v1/api.go
    Refusal(
        400,
        "bad_data",
        "exceeded maximum resolution of 11,000 points per timeseries. "
        "Try decreasing the query resolution (?step=XX)",
        QueryTooLarge,
    ),
    # storage/remote/codec.go, storage/remote/chunked.go, by way of storage/remote/client.go
    Refusal(
        422,
        "execution",
        "expanding series: remote_read: remote server http://store/read returned http status "
        "400 Bad Request: exceeded sample limit (50000000)",
        QueryTooLarge,
    ),
    Refusal(
        422,
        "execution",
        "chunkedReader: message size exceeded the limit 1048576 bytes; got: 2097152 bytes",
        QueryTooLarge,
    ),
]
_VICTORIA_METRICS = [
    # app/vmselect/netstorage/netstorage.go
    Refusal(
        422,
        "422",
        "cannot select more than -search.maxSamplesPerQuery=10 samples; possible solutions: "
        "increase the -search.maxSamplesPerQuery; reduce time range for the query",
        QueryTooLarge,
    ),
    Refusal(
        422,
        "422",
        "cannot process more than 30000000 samples per series; either increase "
        "-search.maxSamplesPerSeries or reduce time range for the query",
        QueryTooLarge,
    ),
    Refusal(
        422,
        "422",
        "timeout exceeded during query execution: 0.001 seconds (elapsed 0.002 seconds); the "
        "timeout can be adjusted with `-search.maxQueryDuration` command-line flag",
        QueryTooLarge,
    ),
    Refusal(
        422,
        "422",
        "timeout exceeded while fetching data block #7 from storage: 30.000 seconds",
        QueryTooLarge,
    ),
    Refusal(
        422,
        "422",
        "timeout exceeded before starting the query processing: 30.000 seconds (elapsed 30.100 "
        "seconds); the timeout can be adjusted with `-search.maxQueryDuration` command-line flag",
        SourceUnavailable,
    ),
    # lib/storage/index_db.go
    Refusal(
        422,
        "422",
        "the number of matching timeseries exceeds 300000; either narrow down the search or "
        "increase -search.max* command-line flag values (the most likely limit is "
        "-search.maxUniqueTimeseries)",
        QueryTooLarge,
    ),
    # app/vmselect/promql/eval.go
    Refusal(
        422,
        "422",
        "too many points for the given start=1, end=2 and step=1: 40000; the maximum number of "
        "points is 30000; (see -search.maxPointsPerTimeseries command-line flag)",
        QueryTooLarge,
    ),
    Refusal(
        422,
        "422",
        "not enough memory for processing rate(x[1h]), which returns 9 data points across 3 time "
        "series with 3 points in each time series; total available memory for concurrent requests: "
        "1 bytes; requested memory: 2 bytes",
        QueryTooLarge,
    ),
    # app/vmselect/promql/exec.go
    Refusal(
        422,
        "422",
        "the response contains more than -search.maxResponseSeries=1 time series: 2 series",
        QueryTooLarge,
    ),
    # lib/storage/storage.go
    Refusal(422, "422", "error when searching for tagFilters: deadline exceeded", QueryTooLarge),
    # app/vmselect/prometheus/prometheus.go
    Refusal(
        400,
        "400",
        "too long query; got 20000 bytes; mustn't exceed `-search.maxQueryLen=16384` bytes",
        QueryRejected,
    ),
    # app/vmselect/main.go, with the status that it had before 429
    Refusal(
        503,
        "503",
        "couldn't start executing the request in 10.000 seconds, since "
        "-search.maxConcurrentRequests=4 concurrent requests are executed",
        SourceUnavailable,
    ),
]
# pkg/util/globalerror/user.go and pkg/util/limiter/query_limiter.go
_MIMIR = [
    Refusal(422, "execution", f"expanding series: {text}", QueryTooLarge)
    for text in (
        "the query exceeded the maximum number of series (limit: 3 series) "
        "(err-mimir-max-series-per-query)",
        "the query exceeded the maximum number of chunks (limit: 11 chunks) "
        "(err-mimir-max-chunks-per-query)",
        "the query exceeded the aggregated chunks size limit (limit: 9 bytes) "
        "(err-mimir-max-chunks-bytes-per-query)",
        "the estimated number of chunks for the query exceeded the maximum allowed (limit: 9) "
        "(err-mimir-max-estimated-chunks-per-query)",
        "the query exceeded the maximum allowed estimated amount of memory consumed by a single "
        "query (limit: 9 bytes) (err-mimir-max-estimated-memory-consumption-per-query)",
    )
] + [
    # pkg/util/validation/errors.go
    Refusal(
        400,
        "bad_data",
        "the total query time range exceeds the limit (query length: 1h0m0s, limit: 1m0s) "
        "(err-mimir-max-total-query-length)",
        QueryTooLarge,
    ),
    Refusal(
        400,
        "bad_data",
        "the raw query size in bytes exceeds the limit (query size: 9, limit: 8) "
        "(err-mimir-max-query-expression-size-bytes)",
        QueryRejected,
    ),
    # pkg/api/error/error.go
    Refusal(413, "too_large_entry", "response larger than allowed", QueryTooLarge),
    Refusal(
        500,
        "internal",
        "failed to fetch some blocks (err-mimir-store-consistency-check-failed)",
        SourceUnavailable,
    ),
    # pkg/querier/error_translate_queryable.go
    Refusal(
        503,
        "timeout",
        "query timed out in the read request has been rejected because the server exceeded the "
        "allowed number of inflight read requests (err-mimir-ingester-max-inflight-read-requests)",
        SourceUnavailable,
    ),
]
_THANOS = [
    # pkg/store/bucket.go with pkg/store/limiter.go
    *(
        Refusal(
            422,
            "execution",
            "expanding series: proxy Series(): rpc error: code = ResourceExhausted desc = "
            f"exceeded {what}: limit 10 violated (got 11)",
            QueryTooLarge,
        )
        for what in ("series limit", "chunks limit", "bytes limit while fetching series")
    ),
    # pkg/store/proxy_merge.go and proxy.go, where partial responses are refused
    Refusal(
        422,
        "execution",
        "expanding series: proxy Series(): rpc error: code = Aborted desc = fetch series for {} "
        "Addr: store:10901:\nrpc error: code = DeadlineExceeded desc = context deadline exceeded",
        SourceUnavailable,
    ),
    Refusal(
        422,
        "execution",
        "expanding series: proxy Series(): rpc error: code = Aborted desc = failed to receive any "
        "data in 30s from Addr: store:10901: context deadline exceeded",
        SourceUnavailable,
    ),
    # internal/cortex/util/validation/validate.go
    Refusal(
        400,
        "bad_data",
        "the query time range exceeds the limit (query length: 48h, limit: 24h)",
        QueryTooLarge,
    ),
    # internal/cortex/util/http.go
    Refusal(500, "internal", "received message larger than max (5 vs 4)", QueryTooLarge),
]
_CORTEX = [
    # pkg/util/limiter/query_limiter.go
    Refusal(
        422,
        "execution",
        "expanding series: the query hit the max number of series limit (limit: 3 series)",
        QueryTooLarge,
    ),
    Refusal(
        422,
        "execution",
        "expanding series: the query hit the aggregated chunks size limit (limit: 9 bytes)",
        QueryTooLarge,
    ),
    # pkg/util/limiter/response_size_limiter.go
    Refusal(
        422,
        "execution",
        "the query response size exceeds limit (limit: 9 bytes)",
        QueryTooLarge,
    ),
]
_NO_SIZE = [
    Refusal(400, "bad_data", 'parse error: unclosed left parenthesis "too', QueryRejected),
    Refusal(422, "execution", "found duplicate series for the match group", QueryRejected),
    Refusal(422, "execution", "expanding series: store 1 is away", SourceUnavailable),
    Refusal(500, "internal", "index is broken", SourceUnavailable),
]

REFUSALS = (*_PROMETHEUS, *_VICTORIA_METRICS, *_MIMIR, *_THANOS, *_CORTEX, *_NO_SIZE)
