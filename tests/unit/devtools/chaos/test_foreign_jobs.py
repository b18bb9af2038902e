"""The suite's foreign jobs are such as RQ would run, and such as the extractor refuses."""

from __future__ import annotations

import random
import zlib
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from rq.job import Job
from rq.serializers import DefaultSerializer, JSONSerializer

from devtools.chaos.faults import rq
from services.extractor.job_table import TableJob

QUEUE = "etl-plan"


@pytest.fixture
def redis() -> Any:
    return fakeredis.FakeRedis()


@pytest.mark.parametrize("make", [rq._program, rq._callback, rq._rubbish])
@pytest.mark.parametrize("seed", range(4))
def test_each_lies_in_the_queue_and_is_refused(
    redis: Any, make: Any, seed: int, tmp_path: Path
) -> None:
    make(redis, random.Random(seed), QUEUE, "foreign-1", tmp_path / "ran")

    assert redis.lrange(f"rq:queue:{QUEUE}", 0, -1) == [b"foreign-1"]
    job = TableJob.fetch("foreign-1", connection=redis, serializer=JSONSerializer)
    assert job.refused


def test_both_ways_of_packing_come_up_and_rq_would_run_them(redis: Any, tmp_path: Path) -> None:
    serializers = set()
    for seed in range(10):
        rq._program(redis, random.Random(seed), QUEUE, f"foreign-{seed}", tmp_path / "ran")
        data = zlib.decompress(redis.hget(f"rq:job:foreign-{seed}", "data"))
        serializer = JSONSerializer if data.startswith(b"[") else DefaultSerializer
        job = Job.fetch(f"foreign-{seed}", connection=redis, serializer=serializer)
        assert job.func_name == "os.system"
        assert list(job.args) == [f"touch {tmp_path / 'ran'}"]
        serializers.add(serializer)

    assert len(serializers) == 2
