"""Prometheus: a snapshot by its admin API, which makes it in its own data directory.

https://prometheus.io/docs/prometheus/latest/querying/api/#snapshot
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from common.config import ExtractSettings
from common.errors import EtlError, SourceError
from common.failure_text import plain_text
from common.source.http_session import source_session
from etlctl.backup.files import copy_tree, give_like, remove
from etlctl.backup.parts import Moved, Saved, Skipped, count_of

_CONNECT_SECONDS = 5.0
_SNAPSHOT_SECONDS = 600.0
_MESSAGE_MAX_CHARS = 300
# What a Prometheus that holds something has in its data directory, beside blocks.
_HEAD = ("wal", "chunks_head")


class PrometheusHistory:
    """``data_dir`` is Prometheus' data directory as we see it; None = we do not."""

    name = "prometheus"

    def __init__(self, settings: ExtractSettings, data_dir: Path | None) -> None:
        self._settings = settings
        self._data_dir = data_dir

    def save(self, folder: Path, moved: Moved) -> Saved:
        """Raises :class:`Skipped` where the admin API is off and nobody named the directory."""
        servers = self._servers()
        if len(servers) > 1:
            return self._left_at_each(servers)
        name = self._snapshot(self._settings)
        if self._data_dir is None:
            where = f"snapshots/{name} in the data directory of Prometheus"
            return Saved(
                f"not copied: it lies on Prometheus' host, as {where} (--prometheus-data DIR)",
                {"left_at": where},
            )
        made = self._data_dir / "snapshots" / name
        if not made.is_dir():
            raise EtlError(
                f"--prometheus-data {self._data_dir}: has no snapshots/{name}: it is not the data "
                f"directory of the Prometheus at {self._settings.prometheus_url}"
            )
        copy_tree(made, folder, moved)
        blocks = [one.name for one in sorted(folder.iterdir())]
        remove(made)
        return Saved(count_of(len(blocks), "block"), {"blocks": blocks})

    def check(self, folder: Path, known: Mapping[str, Any]) -> None:
        """Raises :class:`EtlError` where the directory is missing or holds data."""
        del folder
        if "left_at" in known:
            raise Skipped(f"it is not in the backup: it was left at {known['left_at']}")
        data_dir = self._data_dir
        if data_dir is None:
            raise Skipped("name its data directory with --prometheus-data DIR")
        if not data_dir.is_dir():
            raise EtlError(f"--prometheus-data {data_dir}: there is no such folder")
        used = [
            name
            for name in _HEAD
            if (data_dir / name).is_dir() and any((data_dir / name).iterdir())
        ]
        used += sorted(one.parent.name for one in data_dir.glob("*/meta.json"))
        if used:
            raise EtlError(
                f"--prometheus-data {data_dir}: is not empty: it has {used[0]}; stop Prometheus "
                "and move its data away"
            )

    def restore(self, folder: Path, known: Mapping[str, Any], moved: Moved) -> str:
        """Prometheus must not run; what was copied is removed again if that fails."""
        assert self._data_dir is not None  # check() skips it
        blocks: list[str] = list(known["blocks"])
        try:
            for block in blocks:
                copy_tree(folder / block, self._data_dir / block, moved)
            give_like(self._data_dir, blocks)
        except BaseException:
            for block in blocks:
                remove(self._data_dir / block)
            raise
        return count_of(len(blocks), "block")

    def _servers(self) -> list[ExtractSettings]:
        """Each source, and each replica of it."""
        extract = self._settings
        named = [extract.of_source(one.name) for one in extract.sources] or [extract]
        return [replica for one in named for replica in one.each_replica]

    def _left_at_each(self, servers: Sequence[ExtractSettings]) -> Saved:
        """Several servers: each makes a snapshot, and one directory cannot be that of all."""
        if self._data_dir is not None:
            raise EtlError(
                f"--prometheus-data {self._data_dir}: is one directory, and there are "
                f"{len(servers)} Prometheus: without it each snapshot is left where it is made"
            )
        left, problems = [], []
        for server in servers:
            try:
                name = self._snapshot(server)
            except EtlError as error:
                problems.append(f"{server.prometheus_url}: {error}")
                continue
            left.append(
                f"snapshots/{name} in the data directory of Prometheus at {server.prometheus_url}"
            )
        if not left:
            raise Skipped("; ".join(problems))
        where, not_saved = "; ".join(left), "".join(f"; not saved: {one}" for one in problems)
        return Saved(f"not copied: {where}{not_saved}", {"left_at": where})

    def _snapshot(self, settings: ExtractSettings) -> str:
        url = f"{settings.prometheus_url.rstrip('/')}/api/v1/admin/tsdb/snapshot"
        try:
            with source_session(settings) as session:
                response = session.post(
                    url, timeout=(_CONNECT_SECONDS, _SNAPSHOT_SECONDS), allow_redirects=False
                )
                text = response.text
        except requests.RequestException as error:
            raise SourceError(f"Prometheus at {url}: {plain_text(error)}") from None
        try:
            document = response.json()
            if response.ok:
                return str(document["data"]["name"])
            text = document["error"]
        except (ValueError, LookupError, TypeError):
            pass
        why = (
            f"Prometheus answers a request for a snapshot with {response.status_code} "
            + " ".join(str(text)[:_MESSAGE_MAX_CHARS].split())
        )
        if self._data_dir is None:
            raise Skipped(f"{why} (it needs --web.enable-admin-api)")
        raise SourceError(f"{why} (it needs --web.enable-admin-api)")
