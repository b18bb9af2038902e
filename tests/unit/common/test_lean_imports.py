"""What is left out of a service's imports, and comes when it is asked for after all."""

from __future__ import annotations

import subprocess
import sys

import pytest

from devtools import PROJECT_ROOT

# Of redis, its asyncio half and its client of clusters; what asyncio runs with.
UNUSED = {
    *("redis.asyncio.client", "redis.cluster", "redis.keyspace_notifications"),
    *("asyncio.base_events", "charset_normalizer.cd", "html.entities"),
}


def printed(program: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", f"from common import lean_imports\nlean_imports.begin()\n{program}"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.parametrize(
    "module",
    [
        *(f"services.{name}.__main__" for name in ("extractor", "transformer", "verifier")),
        *("services.loader.__main__", "services.exporter.redis_source"),
    ],
)
def test_a_service_loads_only_the_part_of_a_package_that_it_uses(module: str) -> None:
    program = f"""
import sys, {module}
from redis.exceptions import ConnectionError
from common.state.connection.redis_client import connect
try:
    connect("redis://127.0.0.1:1/0").ping()
except ConnectionError:
    print(*({UNUSED!r} & sys.modules.keys()), "redis.client" in sys.modules)
"""
    assert printed(program) == "True"


def test_the_rest_comes_when_it_is_asked_for() -> None:
    program = """
import asyncio, redis, redis.asyncio, charset_normalizer
async def answer():
    await asyncio.sleep(0)
    return 42
print(asyncio.run(answer()), redis.RedisCluster.__module__, redis.asyncio.Redis.__module__)
print(redis.Redis is redis.client.Redis, charset_normalizer.detect(b"a")["encoding"])
"""
    assert printed(program) == "42 redis.cluster redis.asyncio.client\nTrue ascii"


def test_a_name_that_no_package_has_is_an_attribute_error() -> None:
    program = """
import redis
for _ in range(2):
    try:
        redis.nothing
    except AttributeError as error:
        print(error)
"""
    assert printed(program) == "\n".join(["module 'redis' has no attribute 'nothing'"] * 2)


def test_garbage_is_looked_for_once_all_is_imported() -> None:
    program = """
import gc
print(gc.isenabled())
lean_imports.end()
print(gc.isenabled(), gc.get_freeze_count() > 0)
"""
    assert printed(program) == "False\nTrue True"


@pytest.mark.parametrize(
    ("select", "loads_re2"), [('up{job="a"}', False), ('{__name__=~"node_.*"}', True)]
)
def test_regular_expressions_are_loaded_where_there_are_any(select: str, loads_re2: bool) -> None:
    program = f"""
import sys, services.loader.__main__, services.transformer.__main__
from common.config import Settings
from common.samples.series import SeriesEncoder
extract = dict(prometheus_url="http://p", queries=[dict(name="q", select={select!r})])
load = dict(influxdb=dict(url="http://i", org="o", bucket="b"))
SeriesEncoder.from_settings(Settings.model_validate(dict(extract=extract, load=load)))
print("re2" in sys.modules)
"""
    assert printed(program) == str(loads_re2)


def test_what_takes_pushed_samples_is_loaded_where_some_are_pushed() -> None:
    program = """
import sys, services.extractor.__main__
print(*({"cramjam", "services.extractor.push.receive"} & sys.modules.keys()))
"""
    assert printed(program) == ""
