"""The hosts themselves: who reaches whom, and that nothing of them stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import StackError
from devtools.hosts.commands import missing, run
from devtools.hosts.network import Network

NAMES = ("left", "right")
# Beside that of the other file, which may run at the same time.
NUMBER = 7
# No server is needed: who is reached refuses the connection.
REACH = """
import socket, sys
with socket.socket() as s:
    s.settimeout(1)
    sys.exit(s.connect_ex((sys.argv[1], 9)) != 111)
"""


@pytest.fixture(autouse=True)
def possible() -> None:
    if (why := missing()) is not None:
        pytest.skip(why)


def reaches(network: Network, source: str, target: str) -> bool:
    command = [*network.place(source).enter, sys.executable, "-c", REACH, network.address(target)]
    return subprocess.run(command, timeout=30).returncode == 0


def left_over() -> list[str]:
    """Namespaces and ports of these tests."""
    named = run("ip", "netns", "list") + run("ip", "-o", "link")
    return [line for line in named.splitlines() if f"etl{NUMBER}" in line]


def test_a_fault_is_what_it_says_and_heals() -> None:
    with Network(NAMES, number=NUMBER) as network:
        assert reaches(network, "left", "right")
        network.cut("right")
        assert not reaches(network, "left", "right")
        assert reaches(network, "right", "right"), "it reaches itself"
        network.heal()
        network.drop_sent("left", "-d", network.address("right"))
        assert not reaches(network, "left", "right")
        network.heal()
        network.lose_half("left")
        assert reaches(network, "left", "left"), "it loses nothing to itself"
        network.heal()
        assert reaches(network, "left", "right")
    assert left_over() == []


def test_nothing_stays_after_a_failure() -> None:
    with pytest.raises(KeyboardInterrupt), Network(NAMES, number=NUMBER):
        raise KeyboardInterrupt
    assert left_over() == []


def test_what_a_killed_run_left_is_removed_by_the_next() -> None:
    killed = (
        "import os, signal\n"
        "from devtools.hosts.network import Network\n"
        f"Network({NAMES!r}, number={NUMBER}).start()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", killed], cwd=Path(__file__).parents[2], timeout=60)
    assert left_over()
    with Network(NAMES, number=NUMBER):
        pass
    assert left_over() == []


def test_addresses_in_use_are_refused() -> None:
    with Network(NAMES, number=NUMBER) as network:
        with pytest.raises(StackError, match=f"10.231.{NUMBER}.0/24 is in use on this machine"):
            Network(("other",), number=NUMBER).start()
        assert reaches(network, "left", "right"), "the first is untouched"
    assert left_over() == []
