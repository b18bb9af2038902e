"""A Docker engine of a host of its own, apart from every other in all that it keeps."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from common.errors import StackError
from devtools.hosts.commands import succeeds
from devtools.servers.place import Place
from devtools.servers.processes import Server

_COMMAND_SECONDS = 180.0
_MOUNTS = Path("/proc/self/mounts")
_CGROUPS = Path("/sys/fs/cgroup")


class Engine(Server):
    """dockerd in ``place``, its data in ``work_dir``; ``close`` removes all of it but its log."""

    ready_seconds = 120.0

    def __init__(self, name: str, work_dir: Path, place: Place) -> None:
        super().__init__(name, work_dir, log_dir=work_dir.parent, port=0)
        self.place = place
        # Its sockets are below it, and a socket's path is 107 characters at most.
        self._run_dir = Path(f"/run/etl-hosts-{os.getpid()}") / name
        self._cgroup = f"etl-hosts-{os.getpid()}-{name}"

    @property
    def data_dir(self) -> Path:
        """Images and volumes."""
        return self.work_dir / "data"

    @property
    def host_url(self) -> str:
        """``DOCKER_HOST`` of its clients."""
        return f"unix://{self._run_dir}/docker.sock"

    def environment(self) -> dict[str, str]:
        """Without a proxy: it reaches no registry, and its nodes need none between them."""
        return {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}

    def command(self) -> Sequence[str]:
        """dockerd, apart from every other in all that it keeps."""
        program = shutil.which("dockerd")
        if program is None:
            raise StackError("there is no dockerd: devtools/scripts/engine start installs it")
        return [
            program,
            *("--host", self.host_url),
            *("--data-root", str(self.data_dir)),
            *("--exec-root", str(self._run_dir / "exec")),
            *("--pidfile", str(self._run_dir / "dockerd.pid")),
            *("--cgroup-parent", f"/{self._cgroup}"),
        ]

    def prepare(self) -> None:
        """Makes the folder of its sockets."""
        self._run_dir.mkdir(parents=True, exist_ok=True)

    def probe(self) -> str | None:
        """``docker version`` asks it for its own."""
        try:
            self.docker("version", "--format", "{{.Server.Version}}")
        except (StackError, subprocess.TimeoutExpired) as error:
            return str(error)
        return None

    def docker(self, *arguments: str, timeout_seconds: float = _COMMAND_SECONDS) -> str:
        """The output of a docker command; :class:`StackError` with what it said if it fails."""
        done = subprocess.run(
            ["docker", "--host", self.host_url, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
        if done.returncode:
            raise StackError(f"{self.name}: docker {arguments[0]}: {done.stderr.strip()}")
        return done.stdout

    def kill(self) -> None:
        """SIGKILL to the engine and to all its containers."""
        super().kill()
        for process in psutil.process_iter():
            try:
                ours = str(self._run_dir) in " ".join(process.cmdline())
                children = process.children(recursive=True) if ours else []
            except psutil.Error:  # it ends by itself
                continue
            for one in (*children, *([process] if ours else ())):
                _kill(one)

    def close(self) -> None:
        """Kills it for good, and removes images, containers, mounts and groups."""
        super().close()
        mounts = [line.split(" ")[1] for line in _MOUNTS.read_text().splitlines()]
        for mount in reversed(mounts):
            # The folder of its data is a mount too: an engine makes it one.
            if f"{mount}/".startswith((f"{self._run_dir}/", f"{self.data_dir}/")):
                succeeds("umount", "--lazy", mount)
        shutil.rmtree(self._run_dir, ignore_errors=True)
        with contextlib.suppress(OSError):  # of the others
            self._run_dir.parent.rmdir()
        shutil.rmtree(self.data_dir, ignore_errors=True)
        for hierarchy in (_CGROUPS, *_CGROUPS.iterdir()):
            if (hierarchy / self._cgroup).is_dir():
                _remove_cgroups(hierarchy / self._cgroup)


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
        process.wait(10)
    except psutil.Error:
        return


def _remove_cgroups(folder: Path) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        try:
            os.rmdir(path)
        except OSError:  # somebody of it has not ended yet
            return
