"""The web configuration that ``etlctl secrets init --tls`` makes, judged and used by Prometheus."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import requests

from devtools.servers.binaries import Toolbox
from devtools.servers.http import session
from devtools.servers.prometheus_server import PrometheusServer, ServerTls
from etlctl.secrets.fill import fill
from etlctl.secrets.folder import open_folder
from etlctl.secrets.rotate import rotate
from etlctl.secrets.table import CONTAINER_FOLDER

WEB = "prometheus_web_tls.yml"


class SecuredPrometheus(PrometheusServer):
    """With our web configuration in the place of the local stack's own."""

    def __init__(self, toolbox: Toolbox, work_dir: Path, folder: Path, log_dir: Path) -> None:
        files = (folder / f"tls_{name}" for name in ("prometheus.crt", "prometheus.key", "ca.crt"))
        super().__init__(
            toolbox,
            work_dir,
            name="secured-prometheus",
            log_dir=log_dir,
            basic_auth=("readonly", password(folder, "readonly")),
            tls=ServerTls(*files),
        )
        self._folder = folder

    def prepare(self) -> None:
        super().prepare()
        self.configure()

    def configure(self) -> None:
        """What handing out does."""
        self._web_config.write_text(in_place(self._folder, WEB), encoding="utf-8")

    def status(self, user: str, secret: str) -> int:
        """What a query is answered with; no user, no credentials."""
        with session() as asked:
            return asked.get(
                f"{self.url}/api/v1/query?query=1",
                auth=(user, secret) if user else None,
                verify=str(self._folder / "tls_ca.crt"),
                timeout=30,
            ).status_code


def in_place(folder: Path, name: str) -> str:
    """The file's text as it is where the container's folder is ``folder``."""
    return (folder / name).read_text(encoding="utf-8").replace(CONTAINER_FOLDER, str(folder))


def password(folder: Path, user: str) -> str:
    return (folder / f"prometheus_{user}_password").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "secrets"
    with open_folder(path, create=True) as opened:
        fill(opened, lambda name, what: None, with_tls=True)
    return path


@pytest.mark.parametrize("name", ["prometheus_web.yml", WEB])
def test_promtool_takes_the_web_configuration(toolbox: Toolbox, folder: Path, name: str) -> None:
    file = folder / "checked.yml"
    file.write_text(in_place(folder, name), encoding="utf-8")
    promtool = toolbox.program("promtool")
    ran = subprocess.run(
        [str(promtool.path), "check", "web-config", str(file)],
        env=promtool.environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_both_users_are_let_in_and_nobody_else_and_a_rotation_needs_no_restart(
    toolbox: Toolbox, tmp_path: Path, folder: Path, log_dir: Path
) -> None:
    with SecuredPrometheus(toolbox, tmp_path / "prometheus", folder, log_dir) as server:
        admin, readonly = password(folder, "admin"), password(folder, "readonly")
        assert server.status("admin", admin) == 200
        assert server.status("readonly", readonly) == 200
        assert server.status("admin", readonly) == 401
        assert server.status("prometheus", admin) == 401
        assert server.status("", "") == 401
        with pytest.raises(requests.exceptions.SSLError), session() as stranger:
            stranger.get(server.url, timeout=30)

        with open_folder(folder) as opened:
            rotate(opened, "prometheus_readonly_password", lambda name, what: None)
        server.configure()
        assert server.status("readonly", readonly) == 401
        assert server.status("readonly", password(folder, "readonly")) == 200
        assert server.status("admin", admin) == 200
