"""Connection to the pipeline's Redis, according to the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.config import PipelineSettings
from common.state.connection.redis_client import connect_as_set
from common.state.keys import Keys

if TYPE_CHECKING:
    from redis import Redis


def redis_of(pipeline: PipelineSettings) -> tuple[Redis, Keys]:
    """A client (nothing is sent yet) and the key names of this pipeline."""
    return connect_as_set(pipeline), Keys(pipeline.redis_namespace)
