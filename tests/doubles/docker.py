"""A ``docker`` for PATH that responds as it was set up, and records how it was called."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Many are started, so it imports nothing that takes time: what it reads and writes are literals.
_PROGRAM = """#!{python} -IS
import sys
folder = {folder!r}
arguments = sys.argv[1:]
with open(folder + "/calls", "a", encoding="utf-8") as calls:
    calls.write(repr(arguments) + "\\n")
def fits(words):
    if arguments[:1] != list(words[:1]):
        return False
    rest = iter(arguments)
    return all(word in rest for word in words)
with open(folder + "/responses", encoding="utf-8") as file:
    responses = eval(file.read())
for number, response in reversed(list(enumerate(responses))):
    if fits(response["words"]):
        # One byte for each time that it was used.
        with open(folder + "/times-" + str(number), "a+") as times:
            seen = times.tell()
            times.write("x")
        sys.stdout.write(response["outs"][min(seen, len(response["outs"]) - 1)])
        sys.stderr.write(response["err"])
        sys.exit(response["code"])
sys.exit("fake docker: no response was set up for " + " ".join(arguments))
"""

VERSION = {"Client": {"Version": "28.2.2"}, "Server": {"Version": "27.3.1", "ApiVersion": "1.47"}}
INFO = {"MemTotal": 16 << 30, "NCPU": 4, "DockerRootDir": "/var/lib/docker", "ServerErrors": None}


class FakeDocker:
    """Put :attr:`bin` on PATH. Of the responses that fit, the one that was set up last is used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        self._responses: list[dict[str, Any]] = []
        program = self.bin / "docker"
        program.write_text(
            _PROGRAM.format(python=sys.executable, folder=str(folder)), encoding="utf-8"
        )
        program.chmod(0o755)
        # An engine that is as it should be, and a project without containers.
        self.respond("version", out=json.dumps(VERSION))
        self.respond("info", out=json.dumps(INFO))
        self.respond("context", out="unix:///var/run/docker.sock\n")
        self.respond("compose")
        self.respond("compose", "version", out="2.30.3\n")

    def respond(
        self, *words: str, out: str | Sequence[str] = "", err: str = "", code: int = 0
    ) -> None:
        """To a command that begins with the first of ``words`` and has all of them in this order.

        Several ``out`` come one after the other, the last one from then on.
        """
        outs = [out] if isinstance(out, str) else list(out)
        self._responses.append({"words": words, "outs": outs, "err": err, "code": code})
        (self._folder / "responses").write_text(repr(self._responses), encoding="utf-8")

    def containers(self, *those: dict[str, Any]) -> None:
        """What ``compose ps`` prints from now on."""
        self.respond("compose", "ps", out="".join(json.dumps(one) + "\n" for one in those))

    @property
    def calls(self) -> list[list[str]]:
        """The arguments of every call."""
        file = self._folder / "calls"
        if not file.exists():
            return []
        return [ast.literal_eval(line) for line in file.read_text(encoding="utf-8").splitlines()]

    def called(self, *words: str) -> list[list[str]]:
        """Of the calls with these words in this order, what follows the last of them."""
        found = []
        for call in self.calls:
            rest = iter(call)
            if all(word in rest for word in words):
                found.append(list(rest))
        return found


def container(
    service: str,
    number: int = 1,
    *,
    state: str = "running",
    health: str = "",
    exit_code: int = 0,
    port: int | None = None,
    labels: str = "com.docker.compose.oneoff=False",
) -> dict[str, Any]:
    """A container as ``docker compose ps --format json`` writes it."""
    publishers = (
        [{"URL": "127.0.0.1", "TargetPort": port, "PublishedPort": port, "Protocol": "tcp"}]
        if port
        else None
    )
    return {
        "ID": f"{service}{number}",
        "Name": f"etl-{service}-{number}",
        "Service": service,
        "State": state,
        "Health": health,
        "ExitCode": exit_code,
        "Publishers": publishers,
        "Labels": f"com.docker.compose.service={service},{labels}",
    }
