"""``python -m devtools.chaos.proxy``: all fault proxies of a run, in one process.

Arguments: ``ADMIN_PORT SEED NAME=KIND:PORT …`` with a kind of ``http`` or ``tcp``. The control is
HTTP on ADMIN_PORT: ``POST /NAME/VERB`` with a JSON object, answered by the proxy's counts.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from devtools.chaos.http1 import BrokenMessage, Message, read_body, read_head
from devtools.chaos.http_proxy import HttpProxy
from devtools.chaos.rules import Rule
from devtools.chaos.sockets import Listener
from devtools.chaos.tcp_proxy import TcpProxy

Proxy = HttpProxy | TcpProxy


def made(argument: str, seed: str) -> tuple[str, Proxy]:
    """A proxy and its name from ``NAME=KIND:PORT``."""
    name, _, rest = argument.partition("=")
    kind, _, port = rest.partition(":")
    if kind == "http":
        return name, HttpProxy(int(port), random.Random(f"{seed}-{name}"))
    return name, TcpProxy(int(port))


class Control:
    """Carries out what the driver says."""

    def __init__(self, proxies: Mapping[str, Proxy]) -> None:
        self._proxies = proxies

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests until the driver closes the connection."""
        try:
            while (request := await read_head(reader)) is not None:
                await read_body(reader, request)
                response = await self._answer(request)
                writer.write(response.encode())
                await writer.drain()
        except BrokenMessage:
            return

    async def _answer(self, request: Message) -> Message:
        try:
            _, name, verb = request.target.split("/")
            state = await self._obey(self._proxies[name], verb, json.loads(request.body or b"{}"))
        except (ValueError, KeyError, TypeError) as error:
            return _json(400, {"error": f"{request.start}: {type(error).__name__}: {error}"})
        return _json(200, state)

    async def _obey(self, proxy: Proxy, verb: str, order: dict[str, Any]) -> dict[str, Any]:
        match verb, proxy:
            case "state", _:
                pass
            case "listen", _:
                await proxy.listener.open()
            case "refuse", _:
                return {"reset": await proxy.listener.close(), **proxy.state()}
            case "reset", _:
                return {"reset": proxy.listener.reset_all(), **proxy.state()}
            case "point", HttpProxy():
                low, high = order["delay_seconds"]
                others = map(int, order.get("others", ()))
                proxy.point(int(order["port"]), (float(low), float(high)), *others)
            case "point", TcpProxy():
                proxy.point(int(order["port"]))
            case "rule", HttpProxy():
                proxy.rules.add(Rule.from_json(order))
            case "clear", HttpProxy():
                proxy.rules.clear()
            case "cut", TcpProxy():
                proxy.cut(order["direction"], int(order["after_bytes"]), everybody=order["all"])
            case _:
                raise ValueError(f"no verb {verb}")
        return proxy.state()


def _json(status: int, document: Mapping[str, Any]) -> Message:
    body = json.dumps(document).encode()
    return Message(f"HTTP/1.1 {status} Answer", [("content-type", "application/json")], body)


async def main(arguments: Sequence[str]) -> None:
    """Listen until killed."""
    admin_port, seed, *described = arguments
    proxies = dict(made(argument, seed) for argument in described)
    for proxy in proxies.values():
        await proxy.listener.open()
    await Listener(int(admin_port), Control(proxies).serve).open()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
