"""Ports that are held until their server starts are given to nobody else."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from common.errors import StackError
from devtools import PROJECT_ROOT
from devtools.servers.ports import HOST, HeldPort, free_port


def test_a_held_port_is_free_for_its_server_and_for_nobody_who_draws_one() -> None:
    held = HeldPort()
    another = free_port()
    drawn = iter([held.port, held.port, another])

    assert free_port(lambda: next(drawn)) == another
    with socket.create_server((HOST, held.port)):
        pass
    held.close()
    assert free_port(lambda: held.port) == held.port


def test_another_process_is_not_given_it_either() -> None:
    held, another = HeldPort(), free_port()
    code = (
        "from devtools.servers.ports import HeldPort;"
        f"drawn = iter([{held.port}, {another}]);"
        "print(HeldPort(lambda: next(drawn)).port)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.split() == [str(another)]
    held.close()


def test_only_held_ports_are_an_error() -> None:
    held = HeldPort()

    with pytest.raises(StackError, match="all of them are held"):
        free_port(lambda: held.port)
    held.close()
