"""A real influxd 1.x that speaks InfluxDB 2's write path, thanks to an nginx in front of it.

Debian's influxd (1.6) has the real storage engine and real partial-write errors, but lacks
``/api/v2/write``, which newer versions of 1.x have. nginx rewrites
``/api/v2/write?org&bucket&precision`` to ``/write?db&precision``, answers ``/health`` as InfluxDB 2
does, and checks the token, which 1.6 does not know either. Bodies, compressed or not, and all other
responses pass untouched.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from common.errors import StackError
from devtools.servers.binaries import Toolbox
from devtools.servers.http import missing_status, post_form
from devtools.servers.influx_wal import cut_torn_records
from devtools.servers.lifetime import StartStop
from devtools.servers.nginx import NginxServer
from devtools.servers.processes import Server, stop_together

Setting = str | int | bool

DEFAULT_MAX_BODY_BYTES = 25_000_000  # influxd's own default


def _toml(value: Setting) -> str:
    return json.dumps(value)  # strings, integers and booleans are written alike


class Influxd(Server):
    """influxd itself, without the front: the API of 1.x on ``url``."""

    # Unless it does, it may lose what it acknowledges, as those in production.
    cuts_torn_records = True

    def __init__(
        self,
        toolbox: Toolbox,
        work_dir: Path,
        *,
        name: str,
        log_dir: Path | None,
        max_body_bytes: int,
        settings: Mapping[str, Mapping[str, Setting]],
        port: int | None,
    ) -> None:
        super().__init__(name, work_dir, log_dir=log_dir, port=port)
        self._toolbox = toolbox
        self._config = work_dir / "influxdb.conf"
        self._data_dir = work_dir / "data"
        self._max_body_bytes = max_body_bytes
        self.settings = settings

    @property
    def url(self) -> str:
        """Base URL of the 1.x API."""
        return f"http://{self.place.address}:{self.port}"

    def environment(self) -> dict[str, str]:
        """Without INFLUXDB_…: such variables override the file."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("INFLUXDB_")}
        return self._toolbox.program("influxd").environment(clean)

    def prepare(self) -> None:
        """Writes influxdb.conf, and cuts away what a kill has torn."""
        if self.cuts_torn_records:
            cut_torn_records(self._data_dir / "wal")
        sections: dict[str, dict[str, Setting]] = {
            "": {"reporting-disabled": True, "bind-address": f"{self.place.address}:0"},
            "meta": {"dir": str(self._data_dir / "meta")},
            "data": {
                "dir": str(self._data_dir / "data"),
                "wal-dir": str(self._data_dir / "wal"),
                "query-log-enabled": False,
            },
            # Its own database of its own statistics, which nobody reads.
            "monitor": {"store-enabled": False},
            "http": {
                "bind-address": f"{self.place.address}:{self.port}",
                "log-enabled": False,
                "max-body-size": self._max_body_bytes,
            },
            "subscriber": {"enabled": False},
        }
        for section, values in self.settings.items():
            sections.setdefault(section, {}).update(values)
        lines: list[str] = []
        for section, values in sections.items():
            lines += [f"[{section}]"] if section else []
            lines += [f"{key} = {_toml(value)}" for key, value in values.items()]
        self._config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def command(self) -> Sequence[str]:
        """influxd with its file."""
        return [str(self._toolbox.program("influxd").path), "run", "-config", str(self._config)]

    def probe(self) -> str | None:
        """``/ping``."""
        return missing_status(f"{self.url}/ping", 204)

    def forget_data(self) -> None:
        """Removes databases and users."""
        shutil.rmtree(self._data_dir, ignore_errors=True)


_HTTP = r"""
    default_type application/json;
    client_max_body_size ${max_body};
    client_body_buffer_size 1m;
    keepalive_timeout 300s;

    # Regular expressions because plain strings are compared without regard to case.
    map $http_authorization $refused {
        default ${refused_by_default};
${permitted}    }
    map $http_x_scope_orgid $stranger {
        default ${strange_by_default};
${known}    }
    # InfluxDB 2 says "us" and "ns" where 1.x says "u" and "n".
    map $arg_precision $v1_precision {
        default $arg_precision;
        ""      n;
        ns      n;
        us      u;
    }
    upstream influxd {
        server ${upstream};
        keepalive 32;
    }
    server {
        listen ${listen};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_connect_timeout 5s;
        proxy_send_timeout 300s;
        proxy_read_timeout 300s;
        error_page 413 = @too_large;

        location = /api/v2/write {
            if ($refused) { return 401 '{"code":"unauthorized","message":"unauthorized access"}'; }
            if ($stranger) { return 401 '{"code":"unauthorized","message":"no org id"}'; }
            proxy_pass http://influxd/write?db=$arg_bucket&precision=$v1_precision;
        }
        location = /query {
            if ($refused) { return 401 '{"code":"unauthorized","message":"unauthorized access"}'; }
            if ($stranger) { return 401 '{"code":"unauthorized","message":"no org id"}'; }
            proxy_pass http://influxd;
        }
        location = /debug/vars {
            if ($refused) { return 401 '{"code":"unauthorized","message":"unauthorized access"}'; }
            if ($stranger) { return 401 '{"code":"unauthorized","message":"no org id"}'; }
            proxy_pass http://influxd;
        }
        location = /ping {
            if ($stranger) { return 401 '{"code":"unauthorized","message":"no org id"}'; }
            proxy_pass http://influxd;
        }
        # Healthy only while influxd answers: auth_request asks it first.
        location = /health {
            auth_request /influxd-ping;
            error_page 500 502 503 504 = @unhealthy;
            alias ${dir}/health.json;
        }
        location = /influxd-ping {
            internal;
            proxy_pass http://influxd/ping;
            proxy_method GET;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
        }
        location @unhealthy {
            return 503 '{"name":"influxdb","message":"influxd does not answer","status":"fail"}';
        }
        location @too_large {
            return 413 '{"code":"request too large","message":"request body too large"}';
        }
        location / { return 404 '{"code":"not found","message":"path not found"}'; }
    }
"""


class Front(NginxServer):
    """The nginx before influxd."""

    def __init__(
        self,
        toolbox: Toolbox,
        work_dir: Path,
        influxd: Influxd,
        *,
        name: str,
        log_dir: Path | None,
        token: str | None,
        tenant: str | None,
        max_body_bytes: int,
        port: int | None,
    ) -> None:
        super().__init__(toolbox, name, work_dir, log_dir=log_dir, port=port)
        if token is not None and not re.fullmatch(r"[A-Za-z0-9_=.~+/-]+", token):
            raise StackError(f"{name}: a token has only letters, digits and _=.~+/-")
        self._influxd = influxd
        self._token = token
        self._tenant = tenant
        self._max_body_bytes = max_body_bytes

    def prepare(self) -> None:
        """Writes nginx.conf and the answer of ``/health``."""
        super().prepare()
        (self.work_dir / "health.json").write_text(
            json.dumps(
                {
                    "name": "influxdb",
                    "message": "ready for queries and writes",
                    "status": "pass",
                    "checks": [],
                    "version": "v1-behind-v2-write-path",
                }
            ),
            encoding="utf-8",
        )

    def config_text(self) -> str:
        """The write path and queries of InfluxDB 2, passed on to influxd."""
        permitted = ""
        if self._token is not None:
            token = re.escape(self._token)
            permitted = f'        "~^(Token|Bearer) {token}$" 0;\n'
        known = ""
        if self._tenant is not None:
            known = f'        "~^{re.escape(self._tenant)}$" 0;\n'
        values = {
            "known": known,
            "strange_by_default": "0" if self._tenant is None else "1",
            "dir": str(self.work_dir),
            "max_body": str(self._max_body_bytes),
            "refused_by_default": "0" if self._token is None else "1",
            "permitted": permitted,
            "upstream": f"{self._influxd.place.address}:{self._influxd.port}",
            "listen": f"{self.place.address}:{self.port}",
        }
        return self.within_folder(re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], _HTTP))

    def probe(self) -> str | None:
        """An open path of its own, whether influxd runs or not."""
        return missing_status(f"{self.url}/", 404)


class InfluxServer(StartStop):
    """influxd with the write path of InfluxDB 2 on ``url``.

    With ``token`` every write and query must carry ``Authorization: Token …``, with ``tenant`` they
    and pings an ``X-Scope-OrgID`` (else 401).
    ``max_body_bytes`` limits the body as posted, compressed or not (else 413). ``settings`` are
    sections of influxdb.conf, e.g. ``{"data": {"max-series-per-database": 100}}``. To fault one
    half alone use ``influxd`` or ``front``, each a :class:`Server`.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        work_dir: Path,
        *,
        name: str = "influxdb",
        log_dir: Path | None = None,
        token: str | None = None,
        tenant: str | None = None,
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
        databases: Sequence[str] = (),
        settings: Mapping[str, Mapping[str, Setting]] | None = None,
        port: int | None = None,
    ) -> None:
        self.name = name
        self.token = token
        self._databases = tuple(databases)
        self.influxd = Influxd(
            toolbox,
            work_dir / "influxd",
            name=name,
            log_dir=log_dir,
            max_body_bytes=max_body_bytes,
            settings=settings or {},
            port=None,
        )
        self.front = Front(
            toolbox,
            work_dir / "front",
            self.influxd,
            name=f"{name}-front",
            log_dir=log_dir,
            token=token,
            tenant=tenant,
            max_body_bytes=max_body_bytes,
            port=port,
        )

    @property
    def url(self) -> str:
        """Base URL of the InfluxDB 2 write path and of ``/query``."""
        return self.front.url

    @property
    def direct_url(self) -> str:
        """Base URL of influxd's own 1.x API, without token check."""
        return self.influxd.url

    @property
    def headers(self) -> dict[str, str]:
        """What a request to ``url`` must carry."""
        return {} if self.token is None else {"Authorization": f"Token {self.token}"}

    @property
    def servers(self) -> tuple[Server, Server]:
        """Front first: the order to stop them in."""
        return (self.front, self.influxd)

    @property
    def running(self) -> bool:
        """Whether both processes exist."""
        return self.influxd.running and self.front.running

    def start(self) -> Self:
        """Starts both and creates ``databases``."""
        self.influxd.start()
        self.front.start()
        for database in self._databases:
            self.create_database(database)
        return self

    def stop(self) -> None:
        """Stops both."""
        stop_together(self.servers)

    def kill(self) -> None:
        """SIGKILL to both; data stays."""
        for server in self.servers:
            server.kill()

    def close(self) -> None:
        """Kills both for good."""
        for server in self.servers:
            server.close()

    def pause(self) -> None:
        """SIGSTOP to both: connections hang."""
        for server in self.servers:
            server.pause()

    def resume(self) -> None:
        """SIGCONT to both."""
        for server in self.servers:
            server.resume()

    def restart(self, *, keep_data: bool = True) -> Self:
        """Stops both and starts them on the same ports, with their data or as new."""
        self.stop()
        if not keep_data:
            self.influxd.forget_data()
        return self.start()

    def query(
        self, influxql: str, *, database: str = "", **parameters: str
    ) -> list[dict[str, Any]]:
        """``series`` of the first result of an InfluxQL statement, asked of influxd itself.

        Numbers come as JSON has them; timestamps in nanoseconds unless ``epoch`` says otherwise.
        Raises :class:`StackError` with influxd's message if the statement fails.
        """
        form = {"q": influxql, "db": database, "epoch": "ns", **parameters}
        result: dict[str, Any] = post_form(f"{self.direct_url}/query", form)["results"][0]
        if "error" in result:
            raise StackError(f"{self.name}: {influxql}: {result['error']}")
        series: list[dict[str, Any]] = result.get("series", [])
        return series

    def create_database(self, database: str, *, retention_seconds: int | None = None) -> None:
        """Creates a database, for the pipeline a bucket; nothing happens if it exists.

        ``retention_seconds`` (an hour at least) is kept in shards of an hour.
        """
        kept = f" WITH DURATION {retention_seconds}s REPLICATION 1 SHARD DURATION 1h NAME autogen"
        self.query(f'CREATE DATABASE "{database}"{"" if retention_seconds is None else kept}')

    def drop_database(self, database: str) -> None:
        """Drops a database; nothing happens if there is none."""
        self.query(f'DROP DATABASE "{database}"')

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise
