"""``etlctl sink init`` with a configuration, a place for the token, and what it printed last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from common.config import PipelineSettings
from etlctl.sink.init import description_of
from tests.doubles.influx_management import Place
from tests.support.secret_folders import Capture, run


class Job:
    """The job with a configuration, a place for the token, and what it printed last."""

    def __init__(self, folder: Path, capsys: Capture, place: Place) -> None:
        self.place = place
        self.token_file = folder / "sink" / "influxdb_token"
        self.token_file.parent.mkdir()
        self.admin_file = folder / "admin_token"
        self.admin_file.write_text(place.influx.admin_token, encoding="utf-8")
        self.admin_file.chmod(0o400)
        self.url = place.influx.url
        self.bucket = "metrics"
        self.load: dict[str, Any] = {}
        self.pipeline: dict[str, Any] = {}
        self.out = self.err = ""
        self._config = folder / "etl.yaml"
        self._capsys = capsys

    def run(self, *more: str) -> int:
        document = {
            "extract": {"prometheus_url": "http://prometheus:9090"},
            "load": {
                "influxdb": {
                    "url": self.url,
                    "token_file": str(self.token_file),
                    "org": self.place.org,
                    "bucket": self.bucket,
                },
                **self.load,
            },
            "pipeline": self.pipeline,
        }
        self._config.write_text(yaml.safe_dump(document), encoding="utf-8")
        code, self.out, self.err = run(
            self._capsys,
            *("sink", "init", "--config", str(self._config)),
            *("--admin-token-file", str(self.admin_file), "--wait-seconds", "0"),
            *more,
        )
        return code

    @property
    def description(self) -> str:
        return description_of(PipelineSettings(**self.pipeline))

    def ours(self) -> list[dict[str, Any]]:
        made = self.place.authorizations()
        return [one for one in made if one["description"] == self.description]

    def token(self) -> str:
        return self.token_file.read_text(encoding="utf-8")
