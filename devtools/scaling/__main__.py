"""``python -m devtools.scaling``: Redis with 10,000 feeds, 10^6 windows, 200,000 entries."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis import Redis

from common.errors import EtlError
from common.exit_codes import ExitCode
from common.state.keys import Keys
from devtools import PROJECT_ROOT
from devtools.bench.machine import describe, load_average
from devtools.scaling.fill import Filler, Size
from devtools.scaling.measure import Measured, Meter
from devtools.scaling.steps import deliver, steps
from devtools.servers.binaries import Toolbox
from devtools.servers.main import run_main
from devtools.servers.redis_server import RedisServer

FEEDS, WINDOWS, ENTRIES = 10_000, 1_000_000, 200_000
# A client of ours waits for Redis for no longer than 5 s; so long the simulation does.
_TIMEOUT_SECONDS = 120.0


def parsed(arguments: Sequence[str]) -> Size:
    """The command line; exits with 2 when it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m devtools.scaling", description=__doc__)
    for name, default, help_ in (
        ("feeds", FEEDS, "queries times tiers"),
        ("windows", WINDOWS, "windows that were committed"),
        ("entries", ENTRIES, "of them in flight, one entry each; a tenth is transformed"),
    ):
        parser.add_argument(
            f"--{name}", type=int, default=default, metavar="N", help=f"{help_} ({default})"
        )
    options = parser.parse_args(arguments)
    size = Size(options.feeds, options.windows, options.entries)
    if not 1 <= size.feeds <= size.windows or not 2_000 <= size.entries <= size.windows:
        parser.error("--feeds: at most as many as windows; --entries: 2000 at least, and no more")
    return size


def simulate(redis: Redis, size: Size) -> dict[str, Any]:
    """Fill, measure, and what came of it."""
    keys = Keys("etl")
    empty_bytes = _used_bytes(redis)
    filler = Filler(redis, keys, size)
    began = time.monotonic()
    filler.fill(print)
    deliver(redis, keys, size.entries // 20)
    filled_seconds = time.monotonic() - began
    used_bytes = _used_bytes(redis) - empty_bytes
    print(f"filled in {filled_seconds:.0f} s: {used_bytes >> 20} MiB")
    meter, found = Meter(redis), []
    for step, calls, call in steps(redis, keys, filler):
        found.append(meter.measure(step, calls, call))
        print(row(found[-1]))
    return {
        "size": {"feeds": size.feeds, "windows": size.windows, "entries": size.entries},
        "redis_version": redis.info("server")["redis_version"],
        "used_bytes": used_bytes,
        "filled_seconds": round(filled_seconds, 1),
        "steps": [one.document() for one in found],
    }


def _used_bytes(redis: Redis) -> int:
    return int(redis.info("memory")["used_memory"])


def row(one: Measured) -> str:
    """A row of the table in docs/scaling.md."""
    longest = f"{one.longest_ms:.1f} (`{one.longest}`)" if one.longest else "< 0.2"
    return f"| {one.step} | {longest} | {one.cpu_ms:.2f} | {one.wall_ms:.1f} |"


def main(arguments: Sequence[str]) -> ExitCode:
    """Simulate, and write the figures."""
    size, load = parsed(arguments), load_average()
    target = PROJECT_ROOT / "build" / "scaling.json"
    try:
        with (
            tempfile.TemporaryDirectory(prefix="etl-scaling-") as folder,
            RedisServer(Toolbox(), Path(folder)) as server,
            server.client(timeout_seconds=_TIMEOUT_SECONDS) as redis,
        ):
            document = simulate(redis, size)
    except EtlError as error:
        print(f"scaling: {error}")
        return ExitCode.ERROR
    document |= {"machine": describe(), "load_average": load}
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"the figures are in {target}")
    return ExitCode.OK


if __name__ == "__main__":
    run_main(main)
