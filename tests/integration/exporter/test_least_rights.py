"""etl-metrics with a user of Redis that may do nothing but read, on a real server."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis.exceptions import NoPermissionError

from common.state.connection.redis_client import connect
from common.state.keys import Keys
from devtools.servers.ports import HOST
from devtools.servers.redis_server import RedisServer
from tests.integration.exporter.exporter_world import Rig, populate

# As docs/security.md gives it.
METRICS_RULES = (
    "resetkeys resetchannels -@all %R~etl:* %R~rq:* +@read -keys +eval_ro +evalsha_ro "
    "+time +ping +info +select"
)


@pytest.mark.parametrize("info", [True, False])
def test_everything_is_read_and_nothing_can_be_written(
    make_redis: Callable[..., RedisServer], info: bool
) -> None:
    server = make_redis()
    keys = Keys("etl")
    rules = METRICS_RULES if info else METRICS_RULES.replace(" +info", "")
    with server.client() as admin:
        populate(admin, keys)
        admin.script_flush()
        admin.sadd("rq:queues", "rq:queue:etl-live")
        admin.sadd("rq:workers:etl-live", "rq:worker:one")
        admin.execute_command("ACL", "SETUSER", "metrics", "on", ">word", *rules.split())
    url = f"redis://metrics@{HOST}:{server.port}/0"
    rig = Rig(url, keys, "word")
    try:
        for _ in range(2):  # by text, then by its name
            rig.step()
            ok, detail = rig.ready["redis"]
            assert ok
            assert ("" if info else "its memory cannot be read") in detail
            assert "; " not in detail
            wanted = {"etl_ledger_samples", "etl_windows_open", "etl_rq_jobs", "etl_workers"}
            assert wanted | {"etl_dead_letter_entries"} <= rig.names
            assert rig.value("etl_ledger_imbalance_samples") == 0
    finally:
        rig.close()
    with connect(url, "word") as client:
        for write in (
            lambda: client.set("etl:token", 1),
            lambda: client.delete("etl:ledger"),
            lambda: client.eval("return 1", 0),
            lambda: client.get("other"),
        ):
            with pytest.raises(NoPermissionError):
                write()  # type: ignore[no-untyped-call]
