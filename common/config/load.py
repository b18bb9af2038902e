"""Settings of loading: where InfluxDB is, which bucket holds which tier, how it is written to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from common.config.bucket_from import Bucket, BucketFrom
from common.config.client_tls import ClientTls
from common.config.fields import (
    Bytes,
    CheckedSection,
    Count,
    Path,
    Problem,
    Seconds,
    Section,
    Share,
    Unit,
    backoff_problems,
    url_checker,
)
from common.config.headers import given_twice, header_files, header_texts
from common.config.layout import LayoutSettings
from common.config.query import Aggregate, TierName
from common.config.secrets import NO_SECRET, SecretFile, from_file, not_for_headers
from common.samples.rollup import Rollup

_secret = BeforeValidator(from_file("load", "etlctl sink init", not_for_headers))
_password = BeforeValidator(from_file("load"))  # goes into the header as base64
_CREDENTIALS = "it takes load.influxdb.token, or username and password"
_headers = BeforeValidator(header_texts(_CREDENTIALS))
_header_files = BeforeValidator(header_files("load", _CREDENTIALS))
_check_url = url_checker(("http", "https"), "it takes load.influxdb.token")
_url = AfterValidator(_check_url)


_proxy_url = url_checker(
    ("http", "https"), "name a proxy with a password in the variable https_proxy"
)
_proxy = AfterValidator(lambda url: url if url is None else _proxy_url(url))
DAY_MS = 86_400_000
DEFAULT_WINDOW_MS = 3_600_000


def database_of(bucket: str) -> dict[str, str]:
    """The parameters of ``/query`` for a bucket: 1.x and 2.x read ``db/rp`` as a database and its
    retention policy.
    """
    database, _, policy = bucket.partition("/")
    return {"db": database, "rp": policy} if policy else {"db": database}


class InfluxServer(Section):
    """Where InfluxDB is, who we are to it, and how it is talked to."""

    url: Annotated[str, _url] = Field(
        description="InfluxDB's base URL; not needed with `urls`, whose first it is."
    )
    urls: tuple[Annotated[str, _url], ...] = Field(
        (),
        max_length=16,
        description="Base URLs of one clustered InfluxDB, each of which takes and shows all "
        "points. One is used at a time: the next when it fails, the first again when it is back. "
        "All are reached by the same proxy, with the same credentials.",
    )
    return_to_first_seconds: Seconds = Field(
        60,
        gt=0,
        description="How long another of `urls` is used until it is tried whether the first is "
        "back.",
    )
    token_file: SecretFile = Field(None, description="File that holds `token`.")
    token: Annotated[SecretStr, _secret] = Field(
        NO_SECRET,
        description="API token with the right to write (and to read, for `etlctl verify`); "
        "empty = none is sent.",
    )
    username: str | None = Field(
        None,
        min_length=1,
        pattern=r"^[^:]+$",
        description="User of InfluxDB 1.x, instead of a token.",
    )
    password_file: SecretFile = Field(None, description="File that holds `password`.")
    password: Annotated[SecretStr, _password] = Field(
        NO_SECRET, description="Password of that user."
    )
    org: str = Field(min_length=1, description="Organisation that owns the buckets.")
    bucket: Bucket = Field(
        min_length=1,
        description="Bucket of the hot tier, unless `load.tiers.hot` names another; for 1.x the "
        "database, or `database/retention policy`.",
    )
    query_language: Literal["influxql", "sql"] = Field(
        "influxql",
        description="What is read with: InfluxQL on `/query`, which every version serves, or SQL "
        "on `/api/v3/query_sql`, for an InfluxDB 3 whose `/query` cannot be reached.",
    )
    timeout_seconds: Seconds = Field(
        20, gt=0, le=3600, description="How long InfluxDB may take to respond to one request."
    )
    rate_limit_bytes_per_second: Bytes | None = Field(
        None,
        ge=16 << 10,
        description="Compressed bytes that each loader posts in a second at most, for a sink that "
        "is paid by them. What comes faster waits in Redis. None = as many as the sink takes.",
    )


# The keys of the later base come first.
class InfluxSettings(ClientTls, InfluxServer, CheckedSection):
    """The InfluxDB that is written to."""

    tls_section: ClassVar[str] = "load"

    headers: Annotated[dict[str, SecretStr], _headers] = Field(
        default_factory=dict,
        description="More headers of every request, as a proxy or a store of several tenants wants "
        "them (`X-Scope-OrgID`). Their values are treated as secrets.",
    )
    header_files: Annotated[dict[str, str], _header_files] = Field(
        default_factory=dict, description="The same, each name with the file that holds its value."
    )
    proxy_url: Annotated[str | None, _proxy] = Field(
        None,
        description="Proxy on the way to InfluxDB; without it the variables `http_proxy`, "
        "`https_proxy`, `all_proxy` and `no_proxy` count.",
    )

    @property
    def all_urls(self) -> tuple[str, ...]:
        """The URLs of the sink, the first to be preferred."""
        return self.urls or (self.url,)

    @model_validator(mode="before")
    @classmethod
    def _first_of_urls(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "url" in given or not given.get("urls"):
            return given
        try:
            (first, *_) = map(_check_url, given["urls"])
        except (PydanticCustomError, TypeError, AttributeError):
            first = "http://invalid"  # which is told of where it stands
        return {**given, "url": first}

    def _problems(self) -> Iterator[Problem]:
        if self.urls and self.url != self.urls[0]:
            yield Problem(("url",), "is not the first of urls: give one of both")
        if len(set(self.urls)) < len(self.urls):
            yield Problem(("urls",), "has a URL twice")
        if len({url.partition(":")[0] for url in self.urls}) > 1:
            yield Problem(("urls",), "must all begin with http:// or all with https://")
        user = self.username is not None
        password = self.password_file is not None or bool(self.password.get_secret_value())
        token = self.token_file is not None or bool(self.token.get_secret_value())
        if token and (user or password):
            yield Problem((), "has both a user and a token: keep one of them")
        elif password and not user:
            yield Problem((), "has a password but no username")
        elif user and not password:
            yield Problem((), "has a username but neither password nor password_file")
        yield from self._tls_problems()
        yield from given_twice(self.headers, self.header_files)


class Tier(Section):
    """One resolution of the data: the bucket it lives in and how it is made."""

    bucket: Bucket = Field(min_length=1, description="Bucket that holds the tier.")
    retention: Seconds | None = Field(
        None,
        gt=0,
        description="How long the bucket keeps points, if it forgets; older samples are dropped as "
        "`beyond_retention` instead of being posted.",
    )
    resolution: Seconds | None = Field(
        None, gt=0, description="Distance of the points of a rollup; the hot tier has none."
    )
    aggregates: tuple[Aggregate, ...] = Field(
        (),
        description="Aggregates that a rollup holds, each a field of its points; the hot tier has "
        "none.",
    )
    window: Seconds | None = Field(
        None,
        gt=0,
        description="How much time a rollup is read for at once, a multiple of its resolution: the "
        "tier is behind by up to that. None = an hour, or the resolution where that is longer.",
    )

    @property
    def retention_seconds(self) -> float | None:
        """How long the bucket keeps points; None = for ever, or not known."""
        return self.retention

    @property
    def resolution_seconds(self) -> float | None:
        """Distance of the points of a rollup; None = samples as they are."""
        return self.resolution

    @property
    def rollup(self) -> Rollup | None:
        """What the tier keeps of samples; None = they are kept as they are."""
        if self.resolution is None:
            return None
        return Rollup.of(round(self.resolution * 1000), self.aggregates)

    @property
    def window_ms(self) -> int:
        """How much time a rollup is read for at once."""
        resolution_ms = round((self.resolution or 1) * 1000)
        shortest_ms = DEFAULT_WINDOW_MS if self.window is None else round(self.window * 1000)
        return -(-shortest_ms // resolution_ms) * resolution_ms


class LoadSettings(CheckedSection):
    """Where samples go, and how hard the sink is tried."""

    influxdb: InfluxSettings = Field(description="")
    tiers: dict[TierName, Tier] = Field(
        default_factory=dict,
        description="Buckets by tier; without this key, `hot` is `load.influxdb.bucket`.",
    )
    bucket_from: BucketFrom | None = Field(
        None,
        description="A label of the hot tier's series that says which bucket they are written to.",
    )
    layout: LayoutSettings = Field(
        default_factory=LayoutSettings,
        description="Where a line holds the metric's name, and which values are integers.",
    )
    connections: Annotated[Count, Unit("connections")] = Field(
        2, ge=1, le=64, description="Posts that are under way at a time."
    )
    group_bytes: Bytes = Field(
        2 << 20, ge=1, description="Compressed bytes that entries are grouped up to for one post."
    )
    group_samples: Annotated[Count, Unit("samples")] = Field(
        100_000, ge=1, description="Samples that entries are grouped up to for one post."
    )
    backoff_base_seconds: Seconds = Field(
        0.5, gt=0, description="Shortest wait after a failed post (drawn with full jitter)."
    )
    backoff_max_seconds: Seconds = Field(30, gt=0, description="Longest wait after a failed post.")
    retry_after_max_seconds: Seconds = Field(
        300, gt=0, description="Longest Retry-After of the sink that is obeyed."
    )
    max_rejected_share: Share = Field(
        0.5, gt=0, le=1, description="Share of rejected points above which the loader pauses."
    )
    rejected_share_min_samples: Annotated[Count, Unit("points")] = Field(
        1000, ge=1, description="Points that must have been judged before the share counts."
    )
    on_limit: Literal["hold", "dead_letter"] = Field(
        "dead_letter",
        description="What becomes of points for which a limit of the sink is reached that names "
        "their measurement or tag: `dead_letter` keeps them for a replay, `hold` keeps their "
        "entries waiting. Everything else flows.",
    )
    refused_posts_in_a_row: Annotated[Count, Unit("posts")] = Field(
        50,
        ge=1,
        description="Refused posts in a row, with none taken between them, after which a point of "
        "the loader's own is posted. Where that is refused too, or nothing was taken lately, the "
        "loader pauses and tries one line now and then.",
    )
    search_posts_per_entry: Annotated[Count, Unit("posts")] = Field(
        1000,
        ge=1,
        description="Posts that a search for refused lines may make for an entry before others "
        "have their turn; it goes on where it was.",
    )
    search_posts_per_minute: Annotated[Count, Unit("posts")] = Field(
        3000, ge=1, description="Posts that all searches for refused lines may make in a minute."
    )
    circuit_failures: Annotated[Count, Unit("posts")] = Field(
        5, ge=1, description="Failed posts in a row that open the circuit."
    )
    circuit_open_seconds: Seconds = Field(
        10, gt=0, description="How long an open circuit stays open before one post tries again."
    )

    def buckets_of(self, tier: str) -> tuple[str, ...]:
        """Where points of a tier are written to, its own bucket first."""
        own = next(one.bucket for name, one in self.tiers.items() if name == tier)
        others = self.bucket_from.names if self.bucket_from and tier == "hot" else ()
        return tuple(dict.fromkeys((own, *others)))

    # After the check of CheckedSection: validators of a base class come first.
    @model_validator(mode="after")
    def _complete(self) -> Self:
        # Whoever asks for a tier's bucket finds hot there, configured or not.
        hot: dict[TierName, Tier] = {"hot": Tier(bucket=self.influxdb.bucket)}
        found = hot | self.tiers
        in_order = {name: found[name] for name in get_args(TierName) if name in found}
        object.__setattr__(self, "tiers", in_order)
        return self

    def _problems(self) -> Iterator[Problem]:
        yield from backoff_problems(self.backoff_base_seconds, self.backoff_max_seconds)
        bucket_of: dict[str, str] = {}
        if "hot" not in self.tiers:
            bucket_of[self.influxdb.bucket] = "hot"
        for name, tier in self.tiers.items():
            place = ("tiers", name)
            if name == "hot" and tier.resolution is not None:
                yield Problem(
                    (*place, "resolution"), "has no meaning: hot holds samples as they are"
                )
            if name == "hot" and tier.window is not None:
                yield Problem((*place, "window"), "has no meaning: hot is no rollup")
            yield from _resolution_problems(place, tier)
            if name == "hot" and tier.aggregates:
                yield Problem(
                    (*place, "aggregates"), "has no meaning: hot holds samples as they are"
                )
            if name != "hot" and tier.resolution is None:
                yield Problem(place, f"has no resolution: {name} is a rollup (1m, 1h)")
            if name != "hot" and not tier.aggregates:
                yield Problem(place, f"has no aggregates: {name} is a rollup (avg, min, max)")
            if tier.bucket in bucket_of:
                yield Problem(
                    (*place, "bucket"),
                    f"{tier.bucket} is already the bucket of {bucket_of[tier.bucket]}",
                )
            bucket_of.setdefault(tier.bucket, name)
        for bucket in self.bucket_from.names if self.bucket_from else ():
            if (taken := bucket_of.get(bucket, "hot")) != "hot":
                where = ("bucket_from", "buckets")
                yield Problem(where, f"{bucket} is already the bucket of {taken}")
        warm, cold = self.tiers.get("warm"), self.tiers.get("cold")
        fine, coarse = (tier.resolution if tier else None for tier in (warm, cold))
        if fine and coarse and coarse <= fine:
            yield Problem(
                ("tiers", "cold", "resolution"),
                f"is {coarse:g} s: it must be coarser than warm's ({fine:g} s)",
            )


def _resolution_problems(place: Path, tier: Tier) -> Iterator[Problem]:
    resolution = tier.resolution
    if resolution is None:
        return
    resolution_ms = round(resolution * 1000)
    if resolution_ms != resolution * 1000 or not resolution_ms:
        yield Problem((*place, "resolution"), "must be a whole number of milliseconds")
    elif DAY_MS % resolution_ms:
        yield Problem(
            (*place, "resolution"), f"is {resolution:g} s: it must divide a day (1m, 5m, 1h)"
        )
    elif tier.window is not None and round(tier.window * 1000) % resolution_ms:
        yield Problem(
            (*place, "window"),
            f"is {tier.window:g} s: it must be a multiple of the resolution ({resolution:g} s)",
        )
