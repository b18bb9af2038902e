"""The steps of ``etlctl sink init``: each checks first, and changes only what differs."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from math import ceil, inf
from pathlib import Path

from common.config import LoadSettings, PipelineSettings
from common.config.secrets import not_for_headers
from common.errors import ConfigError, SinkError
from common.secret_files import read_secret
from etlctl.sink.management import Authorization, Bucket, Management, Permission, Unauthorized
from etlctl.sink.retention import Consent, Say, ensure_made, reconcile
from etlctl.times import Clock
from etlctl.whole_file import whole_file

# These texts mark an authorization as ours; nobody else's is ever touched.
_LOADERS = "ETL loader"
_DESCRIPTION = f"{_LOADERS} of {{}}: its buckets only (kept by etlctl sink init)"
# What earlier versions called them all: without the file, nobody knows whose one of these is.
_OLD = f"{_LOADERS}: its buckets only (kept by etlctl sink init)"

MIN_RETENTION_SECONDS = 3600  # InfluxDB answers 500 to any less

TOKEN_FILE_MODE = 0o400
_OTHERS = 0o077
_POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class WantedBucket:
    """A bucket; ``retention_seconds`` None = as it is, and for ever where it has to be made."""

    name: str
    retention_seconds: int | None


def wanted_buckets(load: LoadSettings) -> tuple[WantedBucket, ...]:
    """The buckets of all tiers, in the order of the configuration; hot's are all kept as long.

    Raises :class:`ConfigError` with one line for each retention that InfluxDB does not take.
    """
    problems = [
        f"load.tiers.{name}.retention: is {tier.retention_seconds:g} s, and InfluxDB keeps at least"
        f" {MIN_RETENTION_SECONDS} s (1h)"
        for name, tier in load.tiers.items()
        if tier.retention_seconds is not None and tier.retention_seconds < MIN_RETENTION_SECONDS
    ]
    if problems:
        raise ConfigError(*problems)
    return tuple(
        WantedBucket(
            bucket, None if tier.retention_seconds is None else ceil(tier.retention_seconds)
        )
        for name, tier in load.tiers.items()
        for bucket in load.buckets_of(name)
    )


def wait_until_healthy(
    why_not_healthy: Callable[[], str | None],
    wait_seconds: float,
    say: Say,
    clock: Clock = Clock(),
) -> None:
    """Check every second until InfluxDB is healthy. Raises :class:`SinkError` when it was not."""
    deadline = clock.monotonic() + wait_seconds
    reported = False
    while (why := why_not_healthy()) is not None:
        if clock.monotonic() >= deadline:
            raise SinkError(f"not healthy after {wait_seconds:g} s: {why}")
        if not reported:
            say(f"waiting: {why}")
            reported = True
        clock.sleep(_POLL_SECONDS)


def ensure_org(admin: Management, name: str, consent: Consent, say: Say) -> str | None:
    """The organisation's id; made if it is missing. None where it is not to be made."""
    org_id = admin.find_org(name)
    if org_id is None and consent.dry_run:
        say(f"organization {name}: would be made")
    elif org_id is None:
        org_id = admin.create_org(name)
        say(f"organization {name}: made")
    else:
        say(f"organization {name}: kept")
    return org_id


def description_of(pipeline: PipelineSettings) -> str:
    """What the authorizations of a pipeline's loaders are called."""
    shard = f" {pipeline.shard}" if pipeline.shard else ""
    return _DESCRIPTION.format(f"{pipeline.redis_namespace}{shard}")


def ensure_token(
    admin: Management,
    connect: Callable[[str], Management],
    org_id: str,
    buckets: Sequence[Bucket],
    description: str,
    token_file: Path,
    consent: Consent,
    say: Say,
) -> None:
    """Make sure that the file holds a token that may read and write exactly these buckets.

    Reading is needed for the watermark and for ``etlctl verify``. ``connect`` gives the view of
    another token. Authorizations of ours that are not in the file are deleted, last, so that there
    is always one that works: those with this description that may write to one of the buckets. What
    has it and other buckets is of a pipeline that happens to have the same name.
    """
    wanted = frozenset(
        Permission(action, bucket.id) for bucket in buckets for action in ("read", "write")
    )
    token = read_token(token_file)
    ours = [
        one
        for one in admin.authorizations(org_id)
        if one.description.startswith(_LOADERS)
        and (
            (one.token and one.token == token)
            or (one.description == description and (one.permissions or wanted) & wanted)
        )
    ]
    current = None if token is None else _current(ours, token, wanted)
    if token and current and _works(connect, token, org_id, wanted):
        say(f"{token_file}: kept")
        if not consent.dry_run:
            _delete(admin, [one for one in ours if one != current], say)
        return
    why = _why_new(token_file, token, ours, current)
    if consent.dry_run:
        say(f"{token_file}: would be made ({why})")
        return
    try:
        # The file comes first, so that no token is made that cannot be kept.
        with ExitStack() as undo:
            with whole_file(token_file, replace=True, mode=TOKEN_FILE_MODE) as file:
                made = admin.create_authorization(org_id, description, wanted)
                undo.callback(admin.delete_authorization, made.id)
                file.write(made.token.encode())
            undo.pop_all()
    except OSError as error:
        raise ConfigError(
            f"{token_file}: the loader's token cannot be written there: {error.strerror}"
        ) from None
    say(f"{token_file}: made ({why})")
    if not _works(connect, made.token, org_id, wanted):
        raise SinkError(
            f"{token_file}: InfluxDB does not let the new token read its buckets, which the loaded "
            "watermark and etlctl verify need"
        )
    _delete(admin, ours, say)
    if ours:
        say("the loader reads it by itself; restart the loader if it cannot see this file")


def read_token(path: Path) -> str | None:
    """The token, or None if there is none that can be used: missing, unfit, open to others."""
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) & _OTHERS:
            return None
        token = read_secret(path)
    except (OSError, ValueError):
        return None
    return None if not_for_headers(token) else token


def ensure_bucket(
    admin: Management, org_id: str | None, wanted: WantedBucket, consent: Consent, say: Say
) -> Bucket | None:
    """Make it if it is missing, change a retention that differs; no bucket is ever deleted.

    None where it is not there and not to be made.
    """
    what, seconds = f"bucket {wanted.name}", wanted.retention_seconds
    bucket = None if org_id is None else admin.find_bucket(org_id, wanted.name)
    if bucket is None:
        # The organisation is only missing in a dry run.
        make = partial(admin.create_bucket, org_id or "", wanted.name, seconds or 0)
        return ensure_made(what, seconds or inf, consent, say, make)
    kept, change = bucket.retention_seconds or inf, partial(admin.set_retention, bucket)
    reconcile(what, kept, kept if seconds is None else seconds, consent, say, change)
    return bucket


def _current(
    ours: Sequence[Authorization], token: str, wanted: frozenset[Permission]
) -> Authorization | None:
    """The authorization of the token, if it has its rights and is named as they are now."""
    # A server that keeps hashes shows no tokens: then ours is the only one there is.
    hidden = len(ours) == 1 and not ours[0].token
    for one in ours:
        named = one.description != _OLD
        if (hidden or one.token == token) and one.active and named and one.permissions == wanted:
            return one
    return None


def _works(
    connect: Callable[[str], Management],
    token: str,
    org_id: str,
    wanted: frozenset[Permission],
) -> bool:
    """Whether InfluxDB knows the token, and shows it exactly its buckets."""
    view = connect(token)
    try:
        return view.may_read(org_id, frozenset(one.bucket_id for one in wanted))
    except Unauthorized:
        return False
    finally:
        view.close()


def _why_new(
    token_file: Path,
    token: str | None,
    ours: Sequence[Authorization],
    current: Authorization | None,
) -> str:
    if token is None:
        return "the old one cannot be used" if os.path.lexists(token_file) else "there was none"
    if any(one.token == token and one.description == _OLD for one in ours):
        return "the old one does not say whose it is"
    if current is None and any(one.token == token for one in ours):
        return "the old one had other rights"
    return "the old one was not valid"


def _delete(admin: Management, those: Sequence[Authorization], say: Say) -> None:
    for one in those:
        admin.delete_authorization(one.id)
        say(f"authorization {one.id}: deleted, it is not used any more")
