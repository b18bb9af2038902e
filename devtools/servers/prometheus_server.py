"""A real Prometheus."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from common.errors import StackError
from devtools.servers.binaries import Toolbox
from devtools.servers.http import get_json, missing_status
from devtools.servers.processes import Server
from devtools.servers.promtool import create_blocks


@dataclass(frozen=True, slots=True)
class ScrapeJob:
    """One job that Prometheus scrapes.

    ``targets`` are ``host:port`` known from the start; more can come and go with
    :meth:`PrometheusServer.set_targets`. ``password_file`` goes with ``username``.
    """

    name: str
    targets: tuple[str, ...] = ()
    username: str | None = None
    password_file: Path | None = None
    metrics_path: str = "/metrics"
    labels: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerTls:
    """PEM files: the server's own, and what a client needs to be let in."""

    cert_file: Path
    key_file: Path
    ca_file: Path
    client_ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None


def _duration(seconds: float) -> str:
    """Prometheus' notation; it knows no fractions."""
    return f"{round(seconds * 1000)}ms"


def _bcrypt(password: str) -> str:
    # Only a server with basic auth needs the package. Cost 4: Prometheus hashes at every request.
    import bcrypt

    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=4)).decode("ascii")


class PrometheusServer(Server):
    """Prometheus with the given jobs.

    ``basic_auth`` is ``(user, password)``; ``web_settings`` are further keys of web.yml, ``flags``
    further arguments. The lifecycle and admin APIs are off, as in production. Out-of-order samples
    and remote write: ``flags=("--web.enable-remote-write-receiver",)``, ``settings={"storage":
    {"tsdb": {"out_of_order_time_window": "1h"}}}``.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        work_dir: Path,
        *,
        name: str = "prometheus",
        log_dir: Path | None = None,
        jobs: Sequence[ScrapeJob] = (),
        scrape_interval_seconds: float = 1.0,
        scrape_timeout_seconds: float | None = None,
        basic_auth: tuple[str, str] | None = None,
        tls: ServerTls | None = None,
        web_settings: Mapping[str, Any] | None = None,
        retention: str = "15d",
        settings: Mapping[str, Any] | None = None,
        flags: Sequence[str] = (),
        port: int | None = None,
    ) -> None:
        super().__init__(name, work_dir, log_dir=log_dir, port=port)
        self._toolbox = toolbox
        self._config = work_dir / "prometheus.yml"
        self._web_config = work_dir / "web.yml"
        self._targets_dir = work_dir / "targets"
        self.data_dir = work_dir / "data"
        self.jobs = tuple(jobs)
        self.scrape_interval_seconds = scrape_interval_seconds
        self._scrape_timeout_seconds = scrape_timeout_seconds or scrape_interval_seconds
        self.basic_auth = basic_auth
        self.tls = tls
        self._web_settings = dict(web_settings or {})
        self._retention = retention
        self._settings = dict(settings or {})
        self._flags = tuple(flags)

    @property
    def url(self) -> str:
        """Base URL, without credentials."""
        return f"{'https' if self.tls else 'http'}://{self.place.address}:{self.port}"

    def environment(self) -> dict[str, str]:
        """Own libraries first, if it was unpacked."""
        return self._toolbox.program("prometheus").environment()

    def prepare(self) -> None:
        """Writes prometheus.yml and, where asked for, web.yml."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._targets_dir.mkdir(parents=True, exist_ok=True)
        config: dict[str, Any] = {
            "global": {
                "scrape_interval": _duration(self.scrape_interval_seconds),
                "scrape_timeout": _duration(self._scrape_timeout_seconds),
                "evaluation_interval": _duration(self.scrape_interval_seconds),
            },
            **self._settings,
            "scrape_configs": [self._scrape_config(job) for job in self.jobs],
        }
        self._config.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        web: dict[str, Any] = dict(self._web_settings)
        if self.basic_auth is not None:
            user, password = self.basic_auth
            web["basic_auth_users"] = {user: _bcrypt(password)}
        if self.tls is not None:
            server = {"cert_file": str(self.tls.cert_file), "key_file": str(self.tls.key_file)}
            if self.tls.client_ca_file is not None:
                server["client_ca_file"] = str(self.tls.client_ca_file)
                server["client_auth_type"] = "RequireAndVerifyClientCert"
            web["tls_server_config"] = server
        self._web_config.write_text(yaml.safe_dump(web), encoding="utf-8")

    def _scrape_config(self, job: ScrapeJob) -> dict[str, Any]:
        config: dict[str, Any] = {
            "job_name": job.name,
            "metrics_path": job.metrics_path,
            "static_configs": [{"targets": list(job.targets), "labels": dict(job.labels)}],
            # Watched by Prometheus: services come and go without a reload.
            "file_sd_configs": [{"files": [str(self._targets_dir / f"{job.name}.json")]}],
            **job.settings,
        }
        if job.username is not None:
            config["basic_auth"] = {
                "username": job.username,
                "password_file": str(job.password_file),
            }
        return config

    def command(self) -> Sequence[str]:
        """Prometheus on loopback, its data in ``data_dir``."""
        return [
            str(self._toolbox.program("prometheus").path),
            f"--config.file={self._config}",
            f"--web.config.file={self._web_config}",
            f"--web.listen-address={self.place.address}:{self.port}",
            f"--storage.tsdb.path={self.data_dir}",
            f"--storage.tsdb.retention.time={self._retention}",
            *self._flags,
        ]

    def request_options(self) -> dict[str, Any]:
        """Keyword arguments for :mod:`requests` to be let in: auth, verify, cert."""
        options: dict[str, Any] = {}
        if self.basic_auth is not None:
            options["auth"] = self.basic_auth
        if self.tls is not None:
            options["verify"] = str(self.tls.ca_file)
            if self.tls.client_cert_file is not None:
                options["cert"] = (str(self.tls.client_cert_file), str(self.tls.client_key_file))
        return options

    def probe(self) -> str | None:
        """``/-/ready``; basic auth covers that path too."""
        return missing_status(f"{self.url}/-/ready", **self.request_options())

    def forget_data(self) -> None:
        """Removes all blocks and the write-ahead log."""
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def set_targets(self, job: str, targets: Sequence[str]) -> None:
        """The further targets of a job from now on; Prometheus notices within moments."""
        if job not in {known.name for known in self.jobs}:
            raise StackError(f"{self.name} has no job {job}")
        self._targets_dir.mkdir(parents=True, exist_ok=True)
        file = self._targets_dir / f"{job}.json"
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps([{"targets": list(targets)}]), encoding="utf-8")
        os.replace(fresh, file)  # it must never see half of it

    def api(self, path: str, **parameters: str | float) -> Any:
        """``data`` of a GET of ``/api/v1/{path}``; for tests and checks, not for the pipeline."""
        response = get_json(
            f"{self.url}/api/v1/{path}", params=parameters, **self.request_options()
        )
        return response["data"]

    def query(self, expr: str, **parameters: str | float) -> list[dict[str, Any]]:
        """``result`` of an instant query."""
        result: list[dict[str, Any]] = self.api("query", query=expr, **parameters)["result"]
        return result

    def backfill(self, openmetrics: str | Path) -> None:
        """Adds history from OpenMetrics text (seconds, last line ``# EOF``) or a file of it.

        ``promtool tsdb create-blocks-from openmetrics``; a running server is restarted, because it
        finds new blocks only once a minute. Not for the last three hours of a server that also
        scrapes: they belong to its head block. Raises :class:`StackError` with promtool's message.
        """
        file = openmetrics if isinstance(openmetrics, Path) else self.work_dir / "backfill.om"
        if isinstance(openmetrics, str):
            self.work_dir.mkdir(parents=True, exist_ok=True)
            file.write_text(openmetrics, encoding="utf-8")
        was_running = self.running
        self.stop()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        create_blocks(self._toolbox, file, self.data_dir)
        if was_running:
            self.start()
