"""A server for the client of Prometheus: real connections, any response."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest

from tests.support.answering_server import Answer, AnsweringServer, reply
from tests.unit.services.extractor.client.client_world import MATRIX, Serve


@pytest.fixture
def serve() -> Iterator[Serve]:
    """``serve(answer)`` → a server for the test."""
    servers: list[AnsweringServer] = []

    def start(answer: Answer, context: ssl.SSLContext | None = None) -> AnsweringServer:
        servers.append(AnsweringServer(answer, context))
        return servers[-1].__enter__()

    yield start
    for server in servers:
        server.__exit__(None, None, None)


@pytest.fixture
def server() -> Iterator[AnsweringServer]:
    """A server that responds with two series."""
    with AnsweringServer(reply(MATRIX)) as server:
        yield server
