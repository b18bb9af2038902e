"""What the readers of both servers are tried on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.services.verifier.stub_server import Stub, responding


@pytest.fixture
def stub() -> Iterator[Stub]:
    with responding() as found:
        yield found
