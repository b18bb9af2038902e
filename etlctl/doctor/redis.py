"""Redis: what the pipeline assumes of it, and whether our user may do what the services do."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from common.config import Settings
from common.state.connection.server import eviction_by, refusal
from common.state.identity import IdentityRecord, conflict, identity_of
from common.state.keys import Keys
from common.state.scripts import Scripts
from etlctl.connect import redis_of
from etlctl.doctor.redis_rights import refused_calls
from etlctl.doctor.report import Report, Said, failure, ok, warning
from etlctl.run.folder import address_of, data_folder
from etlctl.run.redis import server_program

SECTION = "redis"
_PINGS = 15
_START_SECONDS = 10.0
# Each hand-off of an entry is a call, and so is each look for one.
SLOW_MS = 20.0
# What Redis needs beside what is in flight (docs/performance.md): its own, and for a rewrite.
_OWN_SHARE = 1.1
_OWN_BYTES = 8 << 20
_MIB = 1 << 20
_RULES = "docs/security.md has the rules"


def look_at_redis(report: Report, settings: Settings, file: Path) -> None:
    """Everything that the services need of it; of none, whether ``etlctl run`` can start one."""
    named = "redis_url" in settings.pipeline.model_fields_set
    if not named:
        report.check(SECTION, "server", lambda: _of_run("none is named"))
        return
    redis, keys = redis_of(settings.pipeline)
    with closing(redis):
        server = _Server(settings, redis, keys)
        if _is_of_run(settings, file) and not _answers(redis):
            report.check(SECTION, "server", lambda: _of_run("etlctl run has stopped"))
            return
        do = "check pipeline.redis_url, the user's password, and that it runs"
        if not report.check(SECTION, "reachable", server.reachable, do):
            return
        do = "let our user call INFO, so that this and the services can look"
        if report.check(SECTION, "server", server.version, do):
            report.check(SECTION, "append-only file", server.append_only)
            report.check(SECTION, "eviction", server.eviction)
            report.check(SECTION, "memory", server.memory)
        report.check(SECTION, "latency", server.latency)
        report.check(SECTION, "clock", server.clock)
        report.check(SECTION, "rights", server.rights, _RULES)
        report.check(SECTION, "namespace", server.namespace)


def _of_run(why: str) -> Iterator[Said]:
    program = server_program(os.environ)
    if trouble := _does_not_run(program):
        yield failure(f"{why}, and {program} does not run: {trouble}", "install it anew")
        return
    yield ok(f"{why}: etlctl run starts {program}; for other processes name pipeline.redis_url")


def _does_not_run(program: str) -> str:
    try:
        done = subprocess.run(
            [program, "--version"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_START_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stdout.strip() or f"exit code {done.returncode}") if done.returncode else ""


def _is_of_run(settings: Settings, file: Path) -> bool:
    address = address_of(data_folder(file))
    return address is not None and address["redis_url"] == settings.pipeline.redis_url


def _answers(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except RedisError:
        return False


@dataclass
class _Server:
    settings: Settings
    redis: Redis
    keys: Keys

    def reachable(self) -> Iterator[Said]:
        """It takes our user and password."""
        self.redis.ping()
        yield ok(self.settings.pipeline.redis_url)

    def version(self) -> Iterator[Said]:
        """Version and mode."""
        why = refusal(self.redis)
        if why is not None:
            yield failure(why, "give the pipeline a Redis of 7.0 or newer, or a Valkey")
            return
        info: Any = self.redis.info("server")
        name = info.get("server_name", "redis")
        version = info.get("valkey_version") or info.get("redis_version")
        yield ok(f"{name} {version}, {info.get('redis_mode')}")

    def append_only(self) -> Iterator[Said]:
        """Without the file a restart loses dead letters, the ledger and what is in flight."""
        info: Any = self.redis.info("persistence")
        if not info.get("aof_enabled"):
            yield failure(
                "is off: a restart loses dead letters, the ledger and what is in flight",
                "CONFIG SET appendonly yes, and in redis.conf",
            )
        elif info.get("aof_last_write_status") == "err":
            yield failure("cannot be written", "make room on its disk")
        elif info.get("aof_last_bgrewrite_status") == "err":
            yield failure("could not be rewritten", "make room on its disk, then BGREWRITEAOF")
        else:
            yield ok("is on, and was written")
            yield from self._replay()

    def _replay(self) -> Iterator[Said]:
        """EXEC in the file is checked against the default user, and each script is a transaction.

        https://github.com/redis/redis/issues/14541, https://github.com/valkey-io/valkey/issues/3983
        """
        key = f"{self.keys.namespace}:doctor"
        try:
            may: Any = self.redis.execute_command("ACL", "DRYRUN", "default", "SET", key, "v")  # type: ignore[no-untyped-call]
        except RedisError:
            return  # our user may not ask
        if may not in (b"OK", "OK"):
            yield failure(
                "its default user has no rights: most versions throw away what scripts have "
                "written when they read the file again, at each start",
                "ACL SETUSER default off resetpass ~* &* +@all, and in redis.conf",
            )

    def eviction(self) -> Iterator[Said]:
        """At its memory's limit it must refuse, not throw away."""
        info: Any = self.redis.info("memory")
        unsafe = eviction_by(info)
        policy = info.get("maxmemory_policy")
        if unsafe is not None:
            yield failure(unsafe, "CONFIG SET maxmemory-policy noeviction, and in redis.conf")
        else:
            yield ok(f"nothing is thrown away (maxmemory-policy {policy})")

    def memory(self) -> Iterator[Said]:
        """Extraction pauses at the high-water mark: there must be room up to there."""
        info: Any = self.redis.info("memory")
        limit_bytes = int(info.get("maxmemory", 0)) or int(info.get("total_system_memory", 0))
        mark_bytes = self.settings.pipeline.high_water_bytes
        needed_bytes = round(max(_OWN_SHARE * mark_bytes, mark_bytes + _OWN_BYTES))
        used = f"uses {_mib(int(info['used_memory']))}"
        if 0 < limit_bytes < needed_bytes:
            yield failure(
                f"{used} of at most {_mib(limit_bytes)}, and pipeline.high_water_bytes "
                f"({_mib(mark_bytes)}) needs {_mib(needed_bytes)}: it is full before extraction "
                "pauses",
                "raise maxmemory, or lower pipeline.high_water_bytes",
            )
        else:
            of = f" of at most {_mib(limit_bytes)}" if limit_bytes else ""
            yield ok(f"{used}{of}; extraction pauses at {_mib(mark_bytes)} in flight")

    def latency(self) -> Iterator[Said]:
        """The median of a few round trips."""
        taken = []
        for _ in range(_PINGS):
            began = time.monotonic()
            self.redis.ping()
            taken.append(1000 * (time.monotonic() - began))
        median_ms = statistics.median(taken)
        said = f"a round trip takes {median_ms:.1f} ms (median of {_PINGS})"
        if median_ms > SLOW_MS:
            yield warning(said, "run the stages near Redis: each entry takes several round trips")
        else:
            yield ok(said)

    def clock(self) -> Iterator[Said]:
        """Leases go by its clock alone; ours tells whether it is right."""
        began = time.time()
        ahead = Scripts(self.redis).now_ms() / 1000 - began
        tolerance_seconds = self.settings.extract.clock_tolerance_seconds
        taken = time.time() - began
        if -tolerance_seconds <= ahead <= tolerance_seconds + taken:
            yield ok(f"agrees with ours within {tolerance_seconds:g} s")
        else:
            yield warning(f"differs from ours by {ahead:+.1f} s", "set both clocks by NTP")

    def rights(self) -> Iterator[Said]:
        """Every command of the services is tried, and none is run."""
        user = self.redis.connection_pool.connection_kwargs.get("username") or "default"
        refused = refused_calls(self.redis, self.keys)
        if refused.needed:
            yield failure(f"user {user} may not: {', '.join(refused.needed)}", _RULES)
        if refused.of_some:
            yield warning(
                f"user {user} may not: {', '.join(refused.of_some)}",
                "give them to the user that the extractor logs in as, if that is another",
            )
        if not refused.needed and not refused.of_some:
            yield ok(f"user {user} may do what the services do")

    def namespace(self) -> Iterator[Said]:
        """It must not be another pipeline's."""
        recorded = IdentityRecord(self.redis, self.keys).read()
        if recorded is None:
            yield ok(f"{self.keys.namespace} belongs to no pipeline yet")
        elif why := conflict(identity_of(self.settings), recorded, self.keys.namespace):
            sentence, _, do = why.partition(". ")
            yield failure(sentence, do)
        else:
            yield ok(f"{self.keys.namespace} belongs to this pipeline")


def _mib(size: int) -> str:
    return f"{size / _MIB:,.0f} MiB"
