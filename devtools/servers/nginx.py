"""An nginx of one process; its configuration is written when it starts, all else in its folder."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from devtools.servers.binaries import Toolbox
from devtools.servers.processes import Server

_TEMPORARY = ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")


class NginxServer(Server):
    """nginx with the file that :meth:`config_text` makes."""

    def __init__(
        self,
        toolbox: Toolbox,
        name: str,
        work_dir: Path,
        *,
        log_dir: Path | None = None,
        port: int | None = None,
    ) -> None:
        super().__init__(name, work_dir, log_dir=log_dir, port=port)
        self._toolbox = toolbox
        self._config = work_dir / "nginx.conf"

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://{self.place.address}:{self.port}"

    @abstractmethod
    def config_text(self) -> str:
        """The whole nginx.conf; it may begin with :attr:`main_directives`."""

    @property
    def main_directives(self) -> str:
        """How it runs: in the foreground, as whoever starts it.

        One process and no workers: whoever kills it, or its parent, leaves none behind.
        """
        user = "user root root; " if os.geteuid() == 0 else ""
        return f"{user}master_process off;\n"

    def within_folder(self, http: str) -> str:
        """A nginx.conf that serves ``http`` and writes nowhere but in its folder."""
        paths = "".join(f"{name}_temp_path {self.work_dir}/{name};\n" for name in _TEMPORARY)
        return (
            f"daemon off;\n{self.main_directives}pid {self.work_dir}/nginx.pid;\n"
            "error_log stderr warn;\nevents { worker_connections 1024; }\n"
            "http {\naccess_log off;\nserver_tokens off;\nkeepalive_requests 1000000;\n"
            f"{paths}{http}\n}}\n"
        )

    def environment(self) -> dict[str, str]:
        """Own libraries first, if it was unpacked."""
        return self._toolbox.program("nginx").environment()

    def prepare(self) -> None:
        """Writes nginx.conf, which may hold a token."""
        self._config.touch(mode=0o600)
        self._config.write_text(self.config_text(), encoding="utf-8")

    def command(self) -> Sequence[str]:
        """nginx with its file; ``-e`` because it logs before it has read that."""
        program = str(self._toolbox.program("nginx").path)
        return [program, "-p", str(self.work_dir), "-e", "stderr", "-c", str(self._config)]
