"""Hosts and a switch between them, each a network namespace of this machine."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from common.errors import StackError
from devtools.hosts.commands import half_of_packets, run, succeeds
from devtools.servers.lifetime import StartStop
from devtools.servers.place import Place

_NAMESPACES = Path("/run/netns")
_SWITCH = "switch"
_HERE = 254  # the last part of this machine's own address at the switch


class Network(StartStop):
    """Context manager: hosts 10.231.``number``.1, .2, … named ``names``, all reachable from here.

    Needs root. On exit everything is removed; what an earlier run that was killed has left behind
    is removed on entry. Raises :class:`StackError` where the addresses are in use.
    """

    def __init__(self, names: Sequence[str], *, number: int = 0) -> None:
        if _SWITCH in names:
            raise StackError(f"no host can be named {_SWITCH}")
        self.names = tuple(names)
        self._subnet = f"10.231.{number}"
        self._prefix = f"etl{number}-"
        self._port_here = f"etl{number}p{os.getpid()}"

    def start(self) -> Self:
        """Makes the switch, this machine's port, and the hosts."""
        self._remove_left_behind()
        if run("ip", "-o", "-4", "addr", "show", "to", f"{self._subnet}.0/24"):
            raise StackError(f"{self._subnet}.0/24 is in use on this machine")
        atexit.register(self.stop)
        try:
            switch = self._namespace(_SWITCH)
            run("ip", "netns", "add", switch)
            run("ip", "-n", switch, "link", "add", "br0", "type", "bridge")
            run("ip", "-n", switch, "link", "set", "br0", "up")
            here, peer = self._port_here, ("peer", "name", "here", "netns", switch)
            run("ip", "link", "add", here, "type", "veth", *peer)
            run("ip", "addr", "add", f"{self._subnet}.{_HERE}/24", "dev", here)
            run("ip", "link", "set", here, "up")
            self._plug("here")
            for number, name in enumerate(self.names, start=1):
                self._add(number, name)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Removes everything; whatever still runs in a host loses its network."""
        atexit.unregister(self.stop)
        succeeds("ip", "link", "del", self._port_here)
        for name in (*self.names, _SWITCH):
            if (_NAMESPACES / self._namespace(name)).exists():
                succeeds("ip", "netns", "del", self._namespace(name))

    def address(self, name: str) -> str:
        """The address of a host."""
        return f"{self._subnet}.{self.names.index(name) + 1}"

    def place(self, name: str) -> Place:
        """The host, as a place for servers."""
        nsenter = shutil.which("nsenter") or "nsenter"
        enter = (nsenter, f"--net={_NAMESPACES / self._namespace(name)}", "--")
        return Place(self.address(name), enter)

    def run_in(self, name: str, *command: str) -> str:
        """The output of a command that runs in a host."""
        return run(*self.place(name).enter, *command)

    def cut(self, name: str) -> None:
        """Pull the host's cable at the switch: it keeps its address and reaches nobody."""
        run("ip", "-n", self._namespace(_SWITCH), "link", "set", "dev", name, "down")

    def drop_sent(self, name: str, *matching: str) -> None:
        """Drop what the host sends, of that what iptables' arguments match; it still receives."""
        self.run_in(name, "iptables", "-A", "OUTPUT", *matching, "-j", "DROP")

    def lose_half(self, name: str) -> None:
        """Drop half of the packets that the host sends and that it receives."""
        for chain in ("INPUT", "OUTPUT"):
            lossy = (chain, "!", "-i" if chain == "INPUT" else "-o", "lo", *half_of_packets())
            self.run_in(name, "iptables", "-A", *lossy)

    def heal(self) -> None:
        """Every host is connected again, and no packet is dropped."""
        for name in self.names:
            run("ip", "-n", self._namespace(_SWITCH), "link", "set", "dev", name, "up")
            self.run_in(name, "iptables", "-F")

    def _namespace(self, name: str, pid: int | None = None) -> str:
        return f"{self._prefix}{pid or os.getpid()}-{name}"

    def _plug(self, port: str) -> None:
        run("ip", "-n", self._namespace(_SWITCH), "link", "set", "dev", port, "master", "br0", "up")

    def _add(self, number: int, name: str) -> None:
        namespace, switch = self._namespace(name), self._namespace(_SWITCH)
        run("ip", "netns", "add", namespace)
        run("ip", "-n", namespace, "link", "set", "lo", "up")
        peer = ("peer", "name", name, "netns", switch)
        run("ip", "-n", namespace, "link", "add", "dev", "eth0", "type", "veth", *peer)
        run("ip", "-n", namespace, "addr", "add", f"{self._subnet}.{number}/24", "dev", "eth0")
        run("ip", "-n", namespace, "link", "set", "eth0", "up")
        self._plug(name)

    def _remove_left_behind(self) -> None:
        """Namespaces of processes that exist no more; their ends of cables go with them."""
        if not _NAMESPACES.is_dir():
            return
        ours = re.compile(rf"{self._prefix}(\d+)-.+")
        for namespace in sorted(path.name for path in _NAMESPACES.iterdir()):
            found = ours.fullmatch(namespace)
            if found and not Path(f"/proc/{found[1]}").exists():
                succeeds("ip", "link", "del", f"{self._prefix[:-1]}p{found[1]}")
                with contextlib.suppress(StackError):
                    run("ip", "netns", "del", namespace)
