"""Free TCP ports on the loopback interface that stay ours while their server is down.

A port that the system picks (``bind`` to 0) comes from the range it also gives to outgoing
connections. While a server of the stack is killed and restarted, its port could then go to a
client, even to the very client that tries to reconnect: on loopback such a connection succeeds to
itself. So ports are drawn from below that range, and probed by binding them.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

from common.errors import StackError

HOST = "127.0.0.1"
_LOWEST = 10_240
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
# Seeded by the system: two test workers must not draw the same sequence.
_random = random.SystemRandom()


def _ephemeral_low() -> int:
    try:
        return int(_EPHEMERAL_RANGE.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768


def can_bind(host: str, port: int) -> bool:
    """Whether nobody listens on that address now, and we may."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the servers do: a connection of an earlier owner in TIME_WAIT does not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port nobody listens on now. Somebody may take it before its server does: retry then."""
    high = _ephemeral_low()
    if high - _LOWEST < 1_000:  # an unusually wide range: no room below it
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.bind((HOST, 0))
            return int(probe.getsockname()[1])
    for _ in range(200):
        port = _random.randrange(_LOWEST, high)
        if can_bind(HOST, port):
            return port
    raise StackError(f"no free TCP port between {_LOWEST} and {high} on {HOST}")
