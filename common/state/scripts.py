"""The Lua scripts that move data, loaded once for each connection.

Each is one atomic step: it reads and checks first and writes last, because Redis does not roll a
script back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError, ResponseError

# JSON rather than msgpack: every Lua that runs our scripts, fakeredis' too, has cjson.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

# Longer than the server takes from one command of a pipeline to the next.
_PUT_KEPT_MS = 30_000


@cache
def source(name: str) -> str:
    """What Redis runs for script ``name``: the prelude, and the script itself."""
    folder = files("common.state").joinpath("lua")
    parts = (
        folder.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in ("prelude", name)
    )
    return "\n".join(parts)


class Scripts:
    """Calls ``common/state/lua/NAME.lua`` on one Redis connection.

    A script that the server does not know yet (after a restart) is sent again by redis-py.
    ``now_ms`` replaces the server's clock in tests.
    """

    def __init__(self, redis: Redis, now_ms: Callable[[], int] | None = None) -> None:
        self._redis = redis
        self._now_ms = now_ms
        self._loaded: dict[str, Any] = {}

    def now_ms(self) -> int:
        """The time that scripts go by."""
        if self._now_ms is not None:
            return self._now_ms()
        seconds, micros = self._redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def call(
        self,
        name: str,
        keys: Sequence[str],
        payloads: Sequence[bytes] = (),
        put: Mapping[str, bytes] = MappingProxyType({}),
        **args: Any,
    ) -> Any:
        """Run script ``name``; its reply as redis-py returns it.

        What is ``put`` lies under its keys before the script runs, in the same round trip, and
        expires unless the script keeps it. A payload that goes through Lua costs Redis three times
        as much.
        """
        if self._now_ms is not None:
            args["now_ms"] = self._now_ms()
        script = self._loaded.get(name)
        if script is None:
            script = self._loaded[name] = self._redis.register_script(source(name))
        words: list[str | bytes] = [_encode(args), *payloads]
        if not put:
            return script(keys, words)
        with self._redis.pipeline(transaction=False) as pipe:
            for key, payload in put.items():
                # Never over what an earlier attempt of the same call has put there, and kept.
                pipe.set(key, payload, px=_PUT_KEPT_MS, nx=True)
            pipe.evalsha(script.sha, len(keys), *keys, *words)
            *refused, reply = pipe.execute(raise_on_error=False)
        if isinstance(reply, NoScriptError):
            reply = script(keys, words)
        for error in (*refused, reply):
            if isinstance(error, Exception):
                raise error
        return reply

    def read(self, name: str, keys: Sequence[str], **args: Any) -> Any:
        """Run a script that only reads, in a way that a user without a right to write may."""
        if self._now_ms is not None:
            args["now_ms"] = self._now_ms()
        text = source(name)
        # What the server knows a script by, and no protection of anything.
        sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        try:
            return self._redis.evalsha_ro(sha, len(keys), *keys, _encode(args))
        except NoScriptError:
            return self._redis.eval_ro(text, len(keys), *keys, _encode(args))
        except ResponseError as error:
            if "unknown command" not in str(error):
                raise
            return self.call(name, keys, **args)  # no Redis, but what tests put in its place
