"""The fault proxies hurt exactly what they are ordered to, and pass everything else on as it is."""

from __future__ import annotations

import asyncio
import gzip
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from devtools.chaos.http1 import Message, read_body, read_head
from devtools.chaos.http_proxy import HttpProxy
from devtools.chaos.proxy import Control, made
from devtools.chaos.rules import Rule
from devtools.chaos.sockets import Listener
from devtools.servers.ports import HOST, free_port

BODY = b"point value=1 " * 4_000
SECONDS = 20.0


class Upstream:
    """A server that remembers what it was asked and answers the same each time."""

    port = 0

    def __init__(self, response: bytes) -> None:
        self.requests: list[Message] = []
        self.response = response
        self.asked = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_head(reader)) is not None:
            await read_body(reader, request)
            self.requests.append(request)
            self.asked.set()
            writer.write(self.response)
            await writer.drain()


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-Kept: yes\r\n\r\n0123456789"
NOT_NOW = b"HTTP/1.1 503 Not Now\r\nContent-Length: 0\r\n\r\n"


@asynccontextmanager
async def http_proxy(response: bytes = ANSWER) -> AsyncIterator[tuple[HttpProxy, Upstream]]:
    upstream = Upstream(response)
    server = Listener(free_port(), upstream.serve)
    upstream.port = server.port
    proxy = HttpProxy(free_port(), random.Random(1))
    proxy.point(server.port, (0.0, 0.0))
    await server.open()
    await proxy.listener.open()
    try:
        yield proxy, upstream
    finally:
        await proxy.listener.close()
        await server.close()


async def post(port: int, body: bytes = BODY) -> Message | None:
    """The response to a post; None where the connection broke before there was one."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(Message("POST /api/v2/write?bucket=b HTTP/1.1", [], body).encode())
        await writer.drain()
        response = await read_head(reader)
        if response is not None:
            await read_body(reader, response, answer_to="POST")
        return response
    except OSError:
        return None
    finally:
        writer.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(SECONDS):
            await test()

    asyncio.run(bounded())


def test_without_a_rule_request_and_answer_pass_as_they_are() -> None:
    async def test() -> None:
        async with http_proxy() as (proxy, upstream):
            response = await post(proxy.listener.port)

            assert response is not None
            assert (response.status, response.body) == (200, b"0123456789")
            assert response.header("x-kept") == "yes"
            assert [request.body for request in upstream.requests] == [BODY]
            assert upstream.requests[0].target == "/api/v2/write?bucket=b"

    run(test)


@pytest.mark.parametrize(
    ("response", "body"),
    [
        (b"HTTP/1.1 204 No Content\r\nX-Kept: yes\r\n\r\n", b""),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n",
            b"abcdefg",
        ),
    ],
)
def test_answers_of_every_framing_pass(response: bytes, body: bytes) -> None:
    async def test() -> None:
        async with http_proxy(response) as (proxy, _):
            found = await post(proxy.listener.port)

            assert found is not None
            assert found.body == body

    run(test)


def test_requests_are_spread_over_several_servers_and_answers_counted() -> None:
    async def test() -> None:
        async with http_proxy() as (proxy, first), http_proxy(NOT_NOW) as (_, second):
            proxy.point(first.port, (0.0, 0.0), second.port)
            for _ in range(30):
                await post(proxy.listener.port)

            counts = {"200": len(first.requests), "503": len(second.requests)}
            assert min(counts.values()) > 0
            assert proxy.state()["answers"] == counts

    run(test)


def test_one_connection_carries_several_requests() -> None:
    async def test() -> None:
        async with http_proxy() as (proxy, upstream):
            reader, writer = await asyncio.open_connection(HOST, proxy.listener.port)
            for _ in range(3):
                writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
                response = await read_head(reader)
                assert response is not None
                await read_body(reader, response, answer_to="GET")
            writer.close()

            assert len(upstream.requests) == 3
            assert proxy.listener.connections == 1

    run(test)


def test_an_answer_of_the_rule_keeps_the_request_from_the_server() -> None:
    async def test() -> None:
        async with http_proxy() as (proxy, upstream):
            rule = Rule("answer", status=429, headers={"Retry-After": "2"}, body="slow down")
            proxy.rules.add(rule)
            response = await post(proxy.listener.port)

            assert response is not None
            assert (response.status, response.header("retry-after")) == (429, "2")
            assert response.body == b"slow down"
            assert upstream.requests == []

    run(test)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_reset_in_the_body_keeps_the_request_from_the_server(share: float) -> None:
    async def test() -> None:
        async with http_proxy() as (proxy, upstream):
            proxy.rules.add(Rule("reset_body", share=share))

            assert await post(proxy.listener.port) is None
            assert upstream.requests == []
            assert await post(proxy.listener.port) is not None

    run(test)


def test_a_lost_answer_was_given_by_the_server() -> None:
    async def test() -> None:
        async with http_proxy() as (proxy, upstream):
            proxy.rules.add(Rule("lose_answer"))

            assert await post(proxy.listener.port) is None
            assert [request.body for request in upstream.requests] == [BODY]

    run(test)


def test_a_slow_server_takes_the_request_even_if_the_client_has_gone() -> None:
    async def test() -> None:
        async with http_proxy() as (proxy, upstream):
            proxy.rules.add(Rule("slow", seconds=0.2))
            _, writer = await asyncio.open_connection(HOST, proxy.listener.port)
            writer.write(Message("POST /w HTTP/1.1", [], BODY).encode())
            await writer.drain()
            while not proxy.rules.hits:
                await asyncio.sleep(0.01)
            writer.close()

            await upstream.asked.wait()
            assert upstream.requests[0].body == BODY

    run(test)


@pytest.mark.parametrize("packed", [False, True])
def test_only_posts_that_hold_what_the_rule_names_meet_it(packed: bool) -> None:
    def body(text: bytes) -> bytes:
        # The loader joins the gzip members of several entries.
        return b"".join(map(gzip.compress, (b"load_a v=1\n", text))) if packed else text

    async def test() -> None:
        async with http_proxy() as (proxy, upstream):
            proxy.rules.add(Rule("answer", None, status=400, body="no room", holding="odd_1,"))
            answers = [
                await post(proxy.listener.port, body(text))
                for text in (b"load_b,x=1 v=1\n", b"odd_1,x=1 v=1\n", b"odd_11,x=1 v=1\n")
            ]

            assert [answer and answer.status for answer in answers] == [200, 400, 200]
            assert len(upstream.requests) == 2
            assert proxy.rules.hits == {"answer": 1}

    run(test)


def test_an_endless_answer_may_be_a_good_one() -> None:
    async def test() -> None:
        async with http_proxy() as (proxy, _):
            proxy.rules.add(Rule("endless", status=200, body="[1", more=",2"))
            reader, writer = await asyncio.open_connection(HOST, proxy.listener.port)
            writer.write(Message("GET /w HTTP/1.1", [], b"").encode())
            assert await read_head(reader) is not None
            assert await reader.readexactly(200_002) == b"[1" + b",2" * 100_000
            writer.close()

    run(test)


def test_an_endless_answer_goes_on_until_its_client_has_gone() -> None:
    async def test() -> None:
        async with http_proxy() as (proxy, upstream):
            proxy.rules.add(Rule("endless", status=500, body='{"message":"'))
            reader, writer = await asyncio.open_connection(HOST, proxy.listener.port)
            writer.write(Message("POST /w HTTP/1.1", [], BODY).encode())
            response = await read_head(reader)
            assert response is not None
            assert (response.status, response.header("content-length")) == (500, None)
            assert await reader.readexactly(12) == b'{"message":"'
            for _ in range(40):
                assert not (await reader.readexactly(65_536)).strip()
            assert proxy.under_way == 1
            writer.close()
            while proxy.under_way:
                await asyncio.sleep(0.01)

            assert upstream.requests == []
            assert await post(proxy.listener.port) is not None

    run(test)


def test_a_truncated_answer_looks_whole_and_a_cut_one_does_not() -> None:
    async def test() -> None:
        async with http_proxy() as (proxy, _):
            proxy.rules.add(Rule("truncate", share=0.4))
            response = await post(proxy.listener.port)
            assert response is not None
            assert response.body == b"0123"

            proxy.rules.add(Rule("cut_answer", share=0.4))
            reader, writer = await asyncio.open_connection(HOST, proxy.listener.port)
            writer.write(b"GET /a HTTP/1.1\r\n\r\n")
            raw = await reader.read()
            writer.close()
            assert b"content-length: 10\r\n" in raw
            assert raw.endswith(b"\r\n\r\n0123")

    run(test)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_dripping_answer_comes_a_byte_at_a_time_and_whole(share: float) -> None:
    async def test() -> None:
        async with http_proxy(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0") as (proxy, _):
            proxy.rules.add(Rule("drip", share=share))
            response = await post(proxy.listener.port)
            assert response is not None
            assert response.body == b"0"

    run(test)


def test_a_server_that_is_away_is_a_reset() -> None:
    async def test() -> None:
        async with http_proxy() as (proxy, _):
            proxy.point(free_port(), (0.0, 0.0))

            assert await post(proxy.listener.port) is None

    run(test)


def test_a_closed_listener_refuses_and_can_be_opened_again() -> None:
    async def test() -> None:
        async with http_proxy() as (proxy, _):
            await proxy.listener.close()
            with pytest.raises(ConnectionRefusedError):
                await post(proxy.listener.port)

            await proxy.listener.open()
            assert await post(proxy.listener.port) is not None

    run(test)


async def order(port: int, path: str, body: bytes = b"{}") -> tuple[int, Any]:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(Message(f"POST {path} HTTP/1.1", [], body).encode())
    response = await read_head(reader)
    assert response is not None
    await read_body(reader, response, answer_to="POST")
    writer.close()
    return response.status, response.body


def test_the_control_gives_orders_by_name_and_refuses_others() -> None:
    async def test() -> None:
        proxies = dict(made(text, "1") for text in (f"web=http:{free_port()}", "db=tcp:1"))
        control = Listener(free_port(), Control(proxies).serve)
        await control.open()
        try:
            rule = b'{"action": "slow", "times": 3, "seconds": 1.0}'
            assert await order(control.port, "/web/rule", rule) == (
                200,
                b'{"requests": 0, "under_way": 0, "hits": {}, "left": 3, "answers": {}}',
            )
            status, _ = await order(
                control.port, "/db/cut", b'{"direction": "up", "after_bytes": 9, "all": true}'
            )
            assert (status, proxies["db"].state()["left"]) == (200, 1)
            for path, body in (
                ("/nobody/state", b"{}"),
                ("/web/dance", b"{}"),
                ("/web/rule", b'{"colour": 1}'),
                ("/web/rule", b"no JSON"),
                ("/db/rule", rule),
                ("/db/cut", b"{}"),
            ):
                assert (await order(control.port, path, body))[0] == 400
        finally:
            await control.close()

    run(test)
