"""The relay cuts connections exactly where it is ordered to, and passes everything else on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from devtools.chaos.sockets import Listener
from devtools.chaos.tcp_proxy import TcpProxy
from devtools.servers.ports import HOST, free_port
from tests.unit.devtools.chaos.test_proxy import run


@asynccontextmanager
async def tcp_proxy() -> AsyncIterator[tuple[TcpProxy, bytearray]]:
    """A relay before a server that keeps what it gets and echoes it."""
    received = bytearray()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65_536):
            received.extend(piece)
            writer.write(piece)
            await writer.drain()

    server = Listener(free_port(), echo)
    proxy = TcpProxy(free_port())
    proxy.point(server.port)
    await server.open()
    await proxy.listener.open()
    try:
        yield proxy, received
    finally:
        await proxy.listener.close()
        await server.close()


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """What comes until the end or a reset."""
    found = bytearray()
    try:
        while piece := await reader.read(65_536):
            found.extend(piece)
    except ConnectionResetError:
        pass
    return bytes(found)


def test_the_relay_passes_both_ways() -> None:
    async def test() -> None:
        async with tcp_proxy() as (proxy, received):
            reader, writer = await asyncio.open_connection(HOST, proxy.listener.port)
            writer.write(b"PING\r\n")

            assert await reader.readexactly(6) == b"PING\r\n"
            assert received == b"PING\r\n"
            writer.close()

    run(test)


def test_a_cut_on_the_way_up_lets_the_server_see_half_a_command() -> None:
    async def test() -> None:
        async with tcp_proxy() as (proxy, received):
            proxy.cut("up", 4, everybody=False)
            reader, writer = await asyncio.open_connection(HOST, proxy.listener.port)
            writer.write(b"EVALSHA\r\n")

            await read_all(reader)
            assert received == b"EVAL"
            assert proxy.state()["cuts"] == {"up": 1, "down": 0}
            assert proxy.state()["left"] == 0
            writer.close()

    run(test)


def test_a_cut_on_the_way_down_comes_after_the_command_was_carried_out() -> None:
    async def test() -> None:
        async with tcp_proxy() as (proxy, received):
            proxy.cut("down", 3, everybody=False)
            reader, writer = await asyncio.open_connection(HOST, proxy.listener.port)
            writer.write(b"EVALSHA\r\n")

            assert len(await read_all(reader)) <= 3
            assert received == b"EVALSHA\r\n"
            writer.close()

    run(test)


def test_a_cut_never_falls_behind_the_last_byte_of_a_command() -> None:
    async def test() -> None:
        async with tcp_proxy() as (proxy, received):
            proxy.cut("up", 9, everybody=False)
            reader, writer = await asyncio.open_connection(HOST, proxy.listener.port)
            writer.write(b"EVALSHA\r\n")

            await read_all(reader)
            assert received == b"EVALSHA\r"
            writer.close()

    run(test)


def test_a_cut_for_everybody_takes_idle_connections_too() -> None:
    async def test() -> None:
        async with tcp_proxy() as (proxy, _):
            idle_reader, idle_writer = await asyncio.open_connection(HOST, proxy.listener.port)
            idle_writer.write(b"x")
            assert await idle_reader.readexactly(1) == b"x"
            proxy.cut("up", 2, everybody=True)
            _, writer = await asyncio.open_connection(HOST, proxy.listener.port)
            writer.write(b"EVALSHA\r\n")

            assert await read_all(idle_reader) == b""
            assert proxy.state()["reset"] == 2
            writer.close()
            idle_writer.close()

    run(test)
