"""The Lua scripts that move data, loaded once for each connection.

Each is one atomic step: it reads and checks first and writes last, because Redis does not roll a
script back.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from redis import Redis


@cache
def _source(name: str) -> str:
    folder = files("common.state").joinpath("lua")
    parts = (
        folder.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in ("prelude", name)
    )
    return "\n".join(parts)


class Scripts:
    """Calls ``common/state/lua/NAME.lua`` on one Redis connection.

    A script that the server does not know yet (after a restart) is sent again by redis-py.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._loaded: dict[str, Any] = {}

    def call(self, name: str, keys: list[str], args: list[bytes | str | int | float]) -> Any:
        """Run script ``name``; its reply as redis-py returns it."""
        script = self._loaded.get(name)
        if script is None:
            script = self._loaded[name] = self._redis.register_script(_source(name))
        return script(keys=keys, args=args)
