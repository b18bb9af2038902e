"""Prometheus: a snapshot by its admin API, which makes it in its own data directory.

https://prometheus.io/docs/prometheus/latest/querying/api/#snapshot
"""

from __future__ import annotations

from collections.abc import Mapping
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
        """Raises :class:`Skipped` where the admin API is off and nobody named the directory.

        And where there are several sources.
        """
        if self._settings.sources:
            raise Skipped("each of several sources is saved where it runs")
        name = self._snapshot()
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

    def _snapshot(self) -> str:
        url = f"{self._settings.prometheus_url.rstrip('/')}/api/v1/admin/tsdb/snapshot"
        try:
            with source_session(self._settings) as session:
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
